"""Programs of a run beside its steps, compiled for a pod: evaluation, samples, saving the weights.

Each is the program that runs there (`evaluation.token_nats`, `generation.continuations`, `weights.gathered_rows`), with
the memory that the rest of the state takes on a device meanwhile.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aura.model import tensor_file, weights
from aura.model.mesh import BATCH
from aura.model.model import ModelConfig
from aura.pretrain import samples
from aura.pretrain.options import Pretrain
from aura.training.evaluation import token_nats
from aura.training.generation import continuations
from aura.training.steps import State


def bytes_beside_steps(
    options: Pretrain, config: ModelConfig, mesh: Mesh, state: State, held: Callable[[Any], int]
) -> Iterator[tuple[str, int]]:
    """Bytes on one device during each part of a run that is no step, by its name.

    Arguments:
        state: of the run, abstract (`mesh.abstract`).
        held: bytes that a device holds of a pytree of abstract arrays.
    """
    rows = options.batch_size // options.accumulation
    places = NamedSharding(mesh, PartitionSpec(BATCH))
    windows = jax.ShapeDtypeStruct((rows, options.seq_len + 1), np.int32, sharding=places)
    start = 1 if options.masks_documents else None  # any id: the program's size does not depend on it
    yield "evaluation", _needed(token_nats.lower(state["model"], windows, start)) + held(state["optimizer"])

    holders = mesh.shape["data"] * mesh.shape["fsdp"]
    length, tokens = samples.lengths(options)
    prompts = jax.ShapeDtypeStruct((-(-samples.PROMPTS // holders) * holders, length), np.int32, sharding=places)
    plain, key = weights.plain(config, state["model"]), jax.eval_shape(lambda: jax.random.key(0))
    yield "samples", _needed(continuations.lower(plain, prompts, key, samples.TEMPERATURE, None, 0, tokens=tokens))

    leaf = max(jax.tree.leaves(state["model"]), key=lambda leaf: tensor_file.row_size(leaf.shape))
    count, parts = weights.rows_at_once(leaf), weights.parts_of(leaf)
    if len(leaf.sharding.device_set) > 1:
        piece = weights.gathered_rows.lower(leaf, jax.ShapeDtypeStruct((), np.int32), count=count, parts=parts)
        yield "saving", _needed(piece) + held(state["model"]) - held(leaf)


def _needed(lowered: Any) -> int:  # noqa: ANN401 - a program that jax.jit lowered
    memory = lowered.compile().memory_analysis()
    return int(
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.generated_code_size_in_bytes
    )

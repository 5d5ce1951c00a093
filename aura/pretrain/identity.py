"""Identity of a run: all that decides its losses, and so which checkpoints are its own.

A run's key is the hash of the token manifest, of every option that decides a loss, and of the code and libraries that
train. An option that changes no loss, or its rounding alone, is not in the key: a run resumes after it was changed.
"""

import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from aura.core import keys
from aura.model import attention, mesh, model
from aura.pretrain.options import Pretrain
from aura.pretrain.step import batches, cross_entropy, optimizer, permutation, training
from aura.tokens import mapped_ids, streams, token_shards

CODE = (
    *(batches, permutation, streams, mapped_ids, token_shards),
    *(attention, cross_entropy, mesh, model, optimizer, training),
)
LIBRARIES = ("flax", "jax", "jaxlib", "numpy", "optax")
PLACEMENT = {"where", "fsdp", "tensor"}  # where the weights lie: losses are equal to about 1e-4
ROUNDING = {"accumulation", "remat"}  # how the same arithmetic is cut
AFTERWARDS = {"checkpoint_folder", "checkpoint_every", "eval_every", "eval_tokens"}  # decide what is kept and measured
SHOWN = 60  # characters of a value in a message


def decisive(options: Pretrain, tokens: str) -> dict[str, Any]:
    """All that decides the run's losses, by the names that a user knows; `tokens` is the token manifest's hash.

    Two ways to say the same (a size by its name or by its numbers) are one here. The steps of a wsd schedule are left
    out: up to its decay a longer run is the same run.
    """
    kept = options.model_dump(exclude=PLACEMENT | ROUNDING | AFTERWARDS)
    kept["size"] = options.shape.model_dump()
    if options.source_weights:  # even weights of 1: each source is then drawn by itself
        kept["source_weights"] = sorted(item for item in options.source_weights.items() if item[1] != 1)
    if options.schedule == "wsd":
        del kept["steps"]
    named = {f"pretrain.{name}": value for name, value in kept.items()}
    code = {f"the code of {module.__name__}": _hash(Path(str(module.__file__))) for module in CODE}
    versions = {f"the version of {name}": metadata.version(name) for name in LIBRARIES}
    return {"the tokens": tokens} | named | code | versions | {"the version of Python": platform.python_version()}


def run_key(options: Pretrain, tokens: str) -> str:
    """The hash of everything that decides the run's losses: 32 hexadecimal digits."""
    return keys.action_key(decisive(options, tokens))


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return the differences between two runs: options and versions with both values, the other run's first."""
    named = []
    for name in sorted(here.keys() | there.keys()):
        before, now = (_plain(of.get(name)) for of in (there, here))
        if before != now:
            hashed = name == "the tokens" or name.startswith("the code of")
            named.append(name if hashed else f"{name} ({_shown(before)} there, {_shown(now)} here)")
    return named


def _plain(value: Any) -> Any:  # noqa: ANN401 - anything JSON can hold
    """A value as a JSON file gives it back."""
    return json.loads(json.dumps(value))


def _shown(value: Any) -> str:  # noqa: ANN401 - anything JSON can hold
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _hash(path: Path) -> str:
    return keys.action_key(path.read_text(encoding="utf-8"))

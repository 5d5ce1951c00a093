"""Identity of a run of pretraining: the options, modules and data that decide its losses."""

from collections.abc import Mapping
from typing import Any

from aura.hugging_face import base as base_weights
from aura.hugging_face import llama_reading, llama_settings
from aura.model import attention, mesh, model, tensor_file
from aura.pretrain.options import Pretrain
from aura.pretrain.step import batches, passing, training
from aura.tokens import mapped_ids, streams, token_shards
from aura.training import batch_layout, cross_entropy, documents, muon, optimizer, permutation, spikes, steps
from aura.training.run_identity import RunIdentity, code_and_libraries, key_of

CODE = (
    *(batches, passing, permutation, batch_layout, documents, streams, mapped_ids, token_shards),
    *(attention, cross_entropy, mesh, model, muon, optimizer, training, steps, spikes),
)
BASE_CODE = (base_weights, llama_reading, llama_settings, tensor_file)  # of a run that begins from existing weights
PLACEMENT = {"where", "fsdp", "tensor"}  # where the weights lie: losses are equal to about 1e-4
ROUNDING = {"accumulation", "remat"}  # how the same arithmetic is cut
DECIDED_BY_BASE = ("size", "tied_embeddings", "qk_norm", "rope_base")
DECIDED = {"token_budget"}  # stands for another option, steps
# Decide what is kept and measured.
AFTERWARDS = {"checkpoint_folder", "checkpoint_every", "eval_every", "eval_tokens", "evaluate"}

# Of the history, and the names of the plots.
COLUMNS = ("loss", "gradient_norm", "learning_rate", "bits_per_byte", "skipped")


def run_identity(
    options: Pretrain,
    tokens: str,
    base: Mapping[str, Any] | None = None,
    further: Mapping[str, str] | None = None,
) -> RunIdentity:
    """Return the identity of a run.

    Arguments:
        options: section pretrain of params.yaml.
        tokens: the token manifest's hash.
        base: what decides the first weights.
        further: plots of evaluation sets (`EvaluationSets.plots`); they decide no loss.
    """
    decides = decisive(options, tokens, base)
    return RunIdentity(
        task="pretrain",
        steps=options.steps,
        decisive=decides,
        shared_steps=lambda steps: optimizer.steps_before_decay(options.model_copy(update={"steps": steps})),
        checkpoint_folder=options.checkpoint_folder,
        checkpoint_every=options.checkpoint_every,
        columns=COLUMNS,
        best="bits_per_byte",
        beginnings=_beginnings(options, decides),
        further=further or {},
    )


def _beginnings(options: Pretrain, decides: Mapping[str, Any]) -> dict[str, int]:
    """Runs that pass over only the first of the batches that this one does: it takes their steps until the next ones.

    So a run goes on from before a spike once its batches are in `pretrain.skip`.
    """
    found, passed = {}, 0
    for place, (first, last) in enumerate(options.skip):
        found[key_of({**decides, "pretrain.skip": options.skip[:place]})] = first - 1 - passed
        passed += last - first + 1
    return found


def decisive(options: Pretrain, tokens: str, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All that decides the run's losses, by the names that a user knows; `tokens` is the token manifest's hash.

    Two ways to say the same (a size by its name or by its numbers, `auto` or its value) are one here. The steps of a
    wsd schedule are left out: up to its decay a longer run is the same run. `base` is what decides existing weights
    (`Base.decides`); they decide the shape, and their bytes count, wherever they lie.
    """
    kept = options.model_dump(exclude=PLACEMENT | ROUNDING | AFTERWARDS | DECIDED | {"base"})
    kept["size"] = options.shape.model_dump(exclude={"head_width"}) | {"head_width": options.shape.own_head_width}
    kept["rope_base"], kept["document_masks"] = options.rotary_base, options.masks_documents
    if base:
        for decided in DECIDED_BY_BASE:
            del kept[decided]
    if options.source_weights:  # even weights of 1: each source is then drawn by itself
        kept["source_weights"] = sorted(item for item in options.source_weights.items() if item[1] != 1)
    if options.schedule == "wsd":
        del kept["steps"]
    named = {f"pretrain.{name}": value for name, value in kept.items()}
    return {"the tokens": tokens, **(base or {})} | named | code_and_libraries(CODE + (BASE_CODE if base else ()))

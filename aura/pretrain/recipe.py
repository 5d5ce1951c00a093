"""Numbers of a run that its size and its budget decide: what `auto` stands for in section `pretrain` of params.yaml.

Every rule is a published one, or was measured here (docs/recipe.md). N counts the weights of the layers' matrices,
tables of pieces left out; D counts the tokens of the run.
"""

import math

from pydantic import ValidationError

from aura.core.errors import UserError
from aura.model.options import Shape
from aura.pretrain.options import Pretrain, PretrainSection

TOKENS_PER_WEIGHT = 20  # Hoffmann et al. 2022 (arXiv:2203.15556)
WARMUP_STEPS = 40  # 2 / (1 - b2) of AdamW, after which its second moments are known (Ma and Yarats, arXiv:1910.04209)
MUON_RATE = 0.016  # the same for all widths (Jordan 2024, as in muon.py); measured here, docs/recipe.md
MUON_SHORT = 150, 300  # steps, between which the rate falls by sqrt(2) to the one of longer runs: measured here
ADAMW_MOST = 0.003  # the best rate of 0.8 million weights, where the rule says 0.006: measured here, docs/recipe.md
BASE_SHARE = 0.1  # of the rate, for weights that were trained before (docs/own-tokenizer.md)
WEIGHT_DECAY = 0.1  # measured here, docs/recipe.md


def decided(section: PretrainSection) -> Pretrain:
    """The run that a section describes, with a number for each `auto`.

    Raises:
        UserError: the numbers do not go together.
    """
    if section.base is not None:
        _require_no_size(section)
    weights = layer_weights(section.shape)
    steps, batch_size = _steps_and_batch(section, weights)
    rate = muon_rate(steps) if section.optimizer == "muon" else adamw_rate(weights, batch_size * section.seq_len)
    rules = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": rate if section.base is None else BASE_SHARE * MUON_RATE,  # AdamW needs a number then
        "warmup_steps": min(WARMUP_STEPS, steps // 10),
        "weight_decay": WEIGHT_DECAY,
    }
    values = section.model_dump(by_alias=True)
    try:
        return Pretrain.model_validate(values | {name: rule for name, rule in rules.items() if values[name] == "auto"})
    except ValidationError as error:
        mistake = error.errors()[0]
        name, limit = mistake["loc"][0], mistake["msg"].removeprefix("Input should be ")
        raise UserError(
            f"pretrain.{name}: auto is {mistake['input']:,}, expected {limit}. Set it to a number, or change "
            "pretrain.token_budget, pretrain.batch_size or pretrain.seq_len"
        ) from None


def told(section: PretrainSection, run: Pretrain) -> str | None:
    """The numbers that stand for `auto`, and the tokens of the run, in one line; None if nothing was `auto`."""
    found = [name for name in Pretrain.__annotations__ if getattr(section, name) == "auto"]
    if not found:
        return None
    numbers = ", ".join(f"{name} {_plain(getattr(run, name))}" for name in found)
    batch = run.batch_size * run.seq_len
    return f"auto is {numbers}; the run has {run.steps * batch:,} tokens in batches of {batch:,}"


def _plain(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.3g}"


def _require_no_size(section: PretrainSection) -> None:
    """Refuse an `auto` that asks for the size of a model whose configuration, and not this section, says it."""
    if section.steps == "auto" and section.token_budget is None:
        raise UserError(
            "pretrain.steps: auto counts 20 tokens for each weight, and pretrain.from decides the weights. Set "
            "pretrain.token_budget, or pretrain.steps to a number"
        )
    if section.learning_rate == "auto" and section.optimizer == "adamw":
        raise UserError(
            "pretrain.learning_rate: auto depends on the size with adamw, and pretrain.from decides the size. Set a "
            "number, such as 0.0004 (then `aura lr-range` tests rates), or pretrain.optimizer: muon"
        )


def _steps_and_batch(section: PretrainSection, weights: int) -> tuple[int, int]:
    """Steps, and sequences of a batch; each as given, or as the tokens of the run decide it."""
    steps, batch_size = section.steps, section.batch_size
    if steps != "auto":
        return steps, _sequences(best_batch_of_steps(steps), section) if batch_size == "auto" else batch_size
    tokens = section.token_budget or TOKENS_PER_WEIGHT * weights
    if batch_size == "auto":
        batch_size = _sequences(best_batch(tokens), section)
    return max(1, math.ceil(tokens / (batch_size * section.seq_len))), batch_size


def layer_weights(shape: Shape) -> int:
    """N: weights of the matrices of all layers."""
    E = shape.head_width or shape.width // shape.heads
    of_layer = 2 * shape.width * E * (shape.heads + shape.kv_heads) + 3 * shape.width * shape.hidden
    return shape.layers * of_layer


def best_batch(tokens: float) -> float:
    """The best tokens of a batch for D tokens in all: 0.58 D^0.571 (Li et al. 2025, arXiv:2503.04715)."""
    return float(0.58 * tokens**0.571)


def best_batch_of_steps(steps: int) -> float:
    """The same where the number of steps is given: D is then steps times the batch, and the rule is solved for it."""
    return float((0.58 * steps**0.571) ** (1 / (1 - 0.571)))


def muon_rate(steps: int) -> float:
    """The peak rate of Muon's matrices: runs of 75 to 150 steps wanted larger ones, and one of 40 steps did not."""
    least, most = MUON_SHORT
    return MUON_RATE * math.sqrt(most / min(max(steps, least), most))


def adamw_rate(weights: int, batch: float) -> float:
    """The best peak rate of AdamW for a batch of so many tokens: Li et al.'s, or Kaplan et al.'s if that is higher.

    Li et al. 2025 (arXiv:2503.04715) give the best rate, 1.79 N^-0.713 D^0.307, beside the best batch for D. D is here
    that for which the batch is the best one: a rate belongs to a batch, and more steps do not change it. Their rule
    says too little for batches far below those that they tried. The rate of Kaplan et al. 2020 (arXiv:2001.08361,
    equation D.1), which knows no batch, is better there; measured at 26 million weights and 1,024 tokens. Small models
    get `ADAMW_MOST`.
    """
    tokens = (batch / 0.58) ** (1 / 0.571)
    least = 0.003239 - 0.0001395 * math.log(weights)
    return float(min(ADAMW_MOST, max(least, 1.79 * weights**-0.713 * tokens**0.307)))


def _sequences(tokens: float, section: PretrainSection) -> int:
    """Sequences of a batch: a power of two, which most meshes divide, and a multiple of `accumulation`."""
    parts = section.accumulation
    return int(parts * 2 ** max(0, round(math.log2(tokens / section.seq_len / parts))))

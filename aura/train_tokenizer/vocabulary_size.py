"""The number of pieces of a tokenizer: a number, a name of the guide's, or the best size for a planned model.

`auto` follows the scaling law with vocabulary of Tao et al. 2024 (arXiv 2407.13623, their third approach): a larger
vocabulary says more per token but spends parameters and compute on embeddings, and models that see more text can
afford more of it. The law was fitted to models of 33 million to 1.13 billion parameters, beside embeddings, and
vocabularies of 4,000 to 96,000. Above that it is a guess, and says so. Below that it says nothing (47 pieces for 13 MB
of text), so the size is the elbow of a curve that is measured on the text (`aura/train_tokenizer/elbow.py`).
"""

import itertools
import math
from dataclasses import asdict, dataclass

from aura.train_tokenizer.counts import Account
from aura.train_tokenizer.options import NAMED_SIZES, TrainTokenizer

MULTIPLE = 128  # of an automatic size: what a TPU's matrix unit is wide
SMALLEST = 2_048  # of an automatic size; for models below 13 million parameters the law asks for less
FITTED = (33e6, 1.13e9)  # parameters beside embeddings, of the smallest and the largest model of the fit
TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022 (arXiv 2203.15556)
BYTES_PER_TOKEN = 4.0  # of an unknown tokenizer; between the 3 of mixed languages and the 4.5 of English

# Loss = -E + A1 / N**a1 + A2 / (V d)**a2 + B / D**b; N in millions, V and d in thousands, D from FLOPs in 1e15.
_A2, _B = 0.19584238398665638, 2.1241123120064955
_EXPONENT_V, _EXPONENT_D = 0.6707374679896795, 0.44660634152009615
_OPTIMAL_N = math.exp(-2.4846510161625193)  # times FLOPs**0.5: parameters that are best for so much compute
# Width of a model by its parameters beside embeddings: the models of the paper, then common ones.
_WIDTHS = (
    *((33e6, 512), (85e6, 768), (151e6, 768), (302e6, 1024), (631e6, 1536), (1.13e9, 2048), (2.87e9, 3200)),
    *((7e9, 4096), (13e9, 5120), (30e9, 6048), (70e9, 8192), (130e9, 12288), (300e9, 16384)),
)


@dataclass(frozen=True)
class Choice:
    """A vocabulary size and why it is that.

    Attributes:
        size: pieces.
        automatic: whether another size will do where the corpus does not allow this one.
        parameters: of the model, embeddings left out, and `tokens` it will see; None where a size was asked for.
        reasons: sentences for the user.
        undecided: whether the law says nothing, so that `size` is only the least.
    """

    size: int
    automatic: bool = False
    parameters: int | None = None
    tokens: int | None = None
    reasons: tuple[str, ...] = ()
    undecided: bool = False

    def resized(self, size: int, reason: str) -> "Choice":
        """Another size, for a reason that comes up in training."""
        return Choice(size, self.automatic, self.parameters, self.tokens, (*self.reasons, reason))

    def record(self) -> dict[str, object]:
        """The same for spiece_config.json."""
        kept = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return {name: value for name, value in kept.items() if name != "undecided"}


def choose(options: TrainTokenizer, corpus: Account) -> Choice:
    """The size that `options` ask for; what they leave open of `auto` derives from the corpus."""
    asked = options.vocab_size
    if isinstance(asked, int):
        return Choice(asked)
    if asked in NAMED_SIZES:
        return Choice(NAMED_SIZES[asked], reasons=(f"{asked} is {NAMED_SIZES[asked]:,} pieces",))
    tokens = options.token_budget or max(1, round(corpus.bytes / BYTES_PER_TOKEN))
    parameters = options.model_parameters or max(1, round(tokens / TOKENS_PER_PARAMETER))
    best = optimal_size(parameters, tokens)
    size = max(SMALLEST, round(best / MULTIPLE) * MULTIPLE)
    undecided = parameters < FITTED[0] and not (options.model_parameters or options.token_budget)
    law = f"the scaling law with vocabulary (arXiv 2407.13623) gives {best:,.0f} pieces"
    fitted = "fitted to models of 33 million to 1.13 billion parameters"
    reasons = [
        f"token budget {tokens:,}"
        + ("" if options.token_budget else f" (the corpus once, at {BYTES_PER_TOKEN:g} bytes per token)"),
        f"model parameters {parameters:,} beside embeddings"
        + ("" if options.model_parameters else f" (budget / {TOKENS_PER_PARAMETER})"),
    ]
    if undecided:
        return Choice(SMALLEST, True, parameters, tokens, (*reasons, f"{law}, but it was {fitted}"), undecided)
    reasons.append(f"{law}; taken: {size:,}, a multiple of {MULTIPLE} of at least {SMALLEST:,}")
    if not FITTED[0] <= parameters <= FITTED[1]:
        reasons.append(f"the law was {fitted}: outside of that it is a guess")
    return Choice(size, True, parameters, tokens, tuple(reasons))


def rounded_down(size: int) -> int:
    """The largest automatic size of at most `size` pieces; where symbols and bytes take most of it, `size` itself."""
    return size if size < 8 * MULTIPLE else size // MULTIPLE * MULTIPLE


def optimal_size(parameters: float, tokens: float) -> float:
    """The vocabulary size of least loss per character at the compute of so many tokens.

    Args:
        parameters: of the model, embeddings left out.
        tokens: what it will see in training; more than is best for so many parameters gives a larger vocabulary.
    """
    width = model_width(parameters)
    compute = (parameters / _OPTIMAL_N) ** 2
    best_tokens = compute / (6 * (parameters + _minimum(parameters, compute, width) * width))
    return _minimum(parameters, compute * tokens / best_tokens, width)


def model_width(parameters: float) -> float:
    """The width of a model with so many parameters beside embeddings: interpolated between common models."""
    if parameters <= _WIDTHS[0][0]:
        return _WIDTHS[0][1]
    for (below, narrow), (above, wide) in itertools.pairwise(_WIDTHS):
        if parameters <= above:
            return float(narrow * (wide / narrow) ** (math.log(parameters / below) / math.log(above / below)))
    return _WIDTHS[-1][1]


def _minimum(parameters: float, compute: float, width: float) -> float:
    """Return the zero of the loss's derivative by the vocabulary size at fixed compute (FLOPs); it rises through it."""

    def slope(vocabulary: float) -> float:
        millions, embedding = parameters / 1e6, vocabulary * width / 1e6
        tokens = compute / 1e15 / (6 * (millions + embedding))
        gained = _A2 * _EXPONENT_V * math.pow(embedding, -_EXPONENT_V - 1)
        lost = _B * _EXPONENT_D * math.pow(tokens, -_EXPONENT_D) / (millions + embedding)
        return lost - gained

    low, high = 1e-3, 1e9
    for _ in range(100):  # bisection of the logarithm: to the last bit of a float
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return low

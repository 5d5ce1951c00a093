"""The size of a model, by its name or by its numbers: `pretrain.size` in params.yaml."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from aura.core.section import Section


class Shape(Section):
    """The sizes of a model."""

    layers: int = Field(ge=1, le=1000)
    width: int = Field(ge=8, le=65_536)
    heads: int = Field(ge=1, le=1024)
    kv_heads: int = Field(ge=1, le=1024)
    hidden: int = Field(ge=8, le=2**20)
    head_width: int | None = Field(default=None, ge=2, le=65_536)  # features of a head; None for width / heads

    @property
    def own_head_width(self) -> int | None:
        """Features of a head, where they are not the heads' even share of the width."""
        return None if self.head_width is None or self.heads * self.head_width == self.width else self.head_width


# SwiGLU has 8/3 of the width (as many weights as a layer of four times the width without a gate,
# arXiv:2002.05202), rounded up to 128 features; half as many key/value heads as heads.
MODEL_SIZES = {  # parameters with 32,000 pieces and tied embeddings: 5 M, 110 M, 320 M, 1.2 B
    "tiny": Shape(layers=4, width=128, heads=4, kv_heads=2, hidden=384),
    "small": Shape(layers=12, width=768, heads=12, kv_heads=6, hidden=2048),
    "medium": Shape(layers=24, width=1024, heads=16, kv_heads=8, hidden=2816),
    "large": Shape(layers=24, width=2048, heads=16, kv_heads=8, hidden=5504),
}


PLAIN_ROPE_BASE, PLAIN_CONTEXT = 10_000.0, 4096  # Llama's and Llama 2's (arXiv:2307.09288)
LONG_ROPE_BASE = 500_000.0  # Llama 3's at 8,192 tokens (arXiv:2407.21783, section 3.2)
BOUND = 1600.0  # S^2 / BOUND lies above every bound of arXiv:2405.14591, table 2, from 32,768 to 1,048,576 tokens


def rope_base_for(seq_len: int) -> float:
    """The base of rotary positions for sequences of so many tokens.

    With too small a base, attention over a long distance prefers other tokens to like ones (arXiv:2405.14591). The
    smallest base that does not was found to grow about as the square of the length. tests/model/test_rotary_base.py
    computes that bound.
    """
    if seq_len <= PLAIN_CONTEXT:
        return PLAIN_ROPE_BASE
    return max(LONG_ROPE_BASE, seq_len**2 / BOUND)


def _kind_of_size(value: object) -> str:
    return "shape" if isinstance(value, (dict, Shape)) else "name"


Size = Annotated[
    Annotated[Literal[*MODEL_SIZES], Tag("name")] | Annotated[Shape, Tag("shape")],  # type: ignore[valid-type]
    Discriminator(_kind_of_size),
]

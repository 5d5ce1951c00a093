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


# SwiGLU has 8/3 of the width (as many weights as a layer of four times the width without a gate,
# arXiv:2002.05202), rounded up to 128 features; half as many key/value heads as heads.
MODEL_SIZES = {  # parameters with 32,000 pieces and tied embeddings: 5 M, 110 M, 320 M, 1.2 B
    "tiny": Shape(layers=4, width=128, heads=4, kv_heads=2, hidden=384),
    "small": Shape(layers=12, width=768, heads=12, kv_heads=6, hidden=2048),
    "medium": Shape(layers=24, width=1024, heads=16, kv_heads=8, hidden=2816),
    "large": Shape(layers=24, width=2048, heads=16, kv_heads=8, hidden=5504),
}


def _kind_of_size(value: object) -> str:
    return "shape" if isinstance(value, (dict, Shape)) else "name"


Size = Annotated[
    Annotated[Literal[*MODEL_SIZES], Tag("name")] | Annotated[Shape, Tag("shape")],  # type: ignore[valid-type]
    Discriminator(_kind_of_size),
]

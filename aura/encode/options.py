"""The options of `encode` in params.yaml."""

from aura.core.section import Section


class Encode(Section):
    """How documents are laid out in the token shards."""

    add_bos: bool
    add_eos: bool

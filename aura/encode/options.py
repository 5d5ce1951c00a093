"""The options of `encode` in params.yaml."""

from aura.core.section import Section


class Encode(Section):
    """Layout of documents in the token shards."""

    add_bos: bool
    add_eos: bool

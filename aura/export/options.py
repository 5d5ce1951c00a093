"""The options of `export` in params.yaml."""

from aura.core.section import Section


class Export(Section):
    """Files of the exported model beside those for transformers."""

    gguf: bool

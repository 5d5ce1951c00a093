"""aura: the build system for language-model tokenizers and the models trained on them."""

import sys

# `python stages/NAME.py` puts stages/ first on sys.path, where stages/select.py would hide the standard
# library's `select` from subprocess and asyncio. `python -m stages.NAME` has no such trouble.
if sys.path and sys.path[0].rstrip("/").endswith("stages"):
    del sys.path[0]

from aura.core import endings

endings.begin()  # Ctrl-C during the imports that follow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aura.sharing.versions import load_tokenizer as load_tokenizer


def __getattr__(name: str) -> object:
    """`aura.load_tokenizer`, imported when first used: a stage has no need of DVC."""
    if name == "load_tokenizer":
        from importlib import import_module

        return import_module("aura.sharing.versions").load_tokenizer
    raise AttributeError(f"module 'aura' has no attribute {name!r}")

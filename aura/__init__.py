"""The build system for language-model tokenizers and the models trained on them.

    import aura

    tokenizer = aura.train_tokenizer(["a.txt", "folder"], vocab_size=8000)
    ids = tokenizer.encode("Hello")      # a list of int
    text = tokenizer.decode(ids)         # "Hello": exact for any text
    tokenizer.save("mine")               # later: aura.load_tokenizer("mine")

`aura init FOLDER` makes a project: text in; a tokenizer, token shards and a language model out, rebuilt as far as text
or options change. Names are imported when they are first used.
"""

import sys
from types import ModuleType

if sys.version_info < (3, 11):  # noqa: UP036 - a stage may be run under any Python that is called `python`
    sys.exit(
        "error: aura needs Python 3.11 or newer, and this is {}.{}. Run: source .venv/bin/activate; then the same "
        "command again".format(*sys.version_info)
    )

# `python stages/NAME.py` puts stages/ first on sys.path, where stages/select.py would hide the standard
# library's `select` from subprocess and asyncio. `python -m stages.NAME` has no such trouble.
if sys.path and sys.path[0].rstrip("/").endswith("stages"):
    del sys.path[0]

from aura.core import endings

endings.begin()  # Ctrl-C during the imports that follow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aura.core.errors import UserError as UserError
    from aura.one_shot.library import load_tokenizer as load_tokenizer
    from aura.one_shot.library import train_tokenizer as train_tokenizer
    from aura.tokenizer.tokenizer import Tokenizer as Tokenizer
    from aura.tokens.token_shards import TokenShards as TokenShards

    __version__: str

__all__ = ["TokenShards", "Tokenizer", "UserError", "__version__", "load_tokenizer", "train_tokenizer"]
_PLACES = {
    "TokenShards": "aura.tokens.token_shards",
    "Tokenizer": "aura.tokenizer.tokenizer",
    "UserError": "aura.core.errors",
    "load_tokenizer": "aura.one_shot.library",
    "train_tokenizer": "aura.one_shot.library",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: no stage depends on what it does not need."""
    if name == "__version__":
        from importlib import metadata

        return metadata.version("aura")
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'aura' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(globals().keys() | set(__all__))


class _Package(ModuleType):
    """This package. `aura.train_tokenizer` is the function, also once the folder of that name is imported."""

    @property
    def train_tokenizer(self) -> object:
        """The function of `aura.one_shot.library`; `import aura.train_tokenizer.train as …` finds the module in it."""
        function = __getattr__("train_tokenizer")
        folder = sys.modules.get(f"{__name__}.train_tokenizer")
        found = vars(folder).items() if folder else ()
        vars(function).update({name: module for name, module in found if isinstance(module, ModuleType)})
        return function

    @train_tokenizer.setter
    def train_tokenizer(self, folder: ModuleType) -> None:
        """Leave the name to the function; `from aura.train_tokenizer import …` works without it."""


sys.modules[__name__].__class__ = _Package

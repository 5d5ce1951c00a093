"""The built-in sample corpus: the documentation inside pinned, installed packages.

No network, no text in git: the docstrings of some ten libraries, 16 MB of English API prose with code
examples. It exercises the whole pipeline on real text; being nearly pure ASCII and of one domain, it says
little about other languages, and its affect vectors mean next to nothing.
"""

import ast
import warnings
from importlib import metadata
from pathlib import Path

from aura.core.errors import UserError
from aura.core.files import read_object
from aura.core.libraries import UPDATE

PACKAGES = (
    "datasets",
    "flax",
    "jax",
    "networkx",
    "numpy",
    "optax",
    "orbax-checkpoint",
    "pandas",
    "pyarrow",
    "scipy",
)
# Written when a wheel is built, so they differ between platforms.
BUILD_RECORDS = frozenset({"__config__.py", "_version.py", "_generated_version.py", "version.py"})
# No text, or not in the wheels for all Pythons: numpy has its own distutils up to Python 3.11 alone.
OTHER_FOLDERS = frozenset({"..", "distutils", "tests"})


def sample_files(pin: Path) -> list[tuple[str, Path]]:
    """Name and place of every module of the pinned packages, by name.

    Raises `UserError` when an installed version is not the pinned one: the corpus would be another.
    """
    pinned: dict[str, str] = read_object(pin, made_by="make lock", packages={str: str})["packages"]
    files = []
    for package, version in pinned.items():
        try:
            distribution = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            raise UserError(
                f"{pin} pins {package} {version}, which is not installed. Run: make; "
                f"outside of a clone of aura: pip install {package}=={version}"
            ) from None
        if distribution.version != version:
            raise UserError(
                f"{pin} pins {package} {version}, but {distribution.version} is installed. Run `make` to install the "
                f"locked versions, or `make lock` to pin the installed ones; outside of a clone of aura: {UPDATE}"
            )
        files += [(str(file), Path(str(file.locate()))) for file in distribution.files or [] if _is_module(file)]
    return sorted(files)


def _is_module(file: metadata.PackagePath) -> bool:
    skipped = file.name in BUILD_RECORDS or not OTHER_FOLDERS.isdisjoint(file.parts)
    return file.suffix == ".py" and not skipped


def docstrings(source: bytes) -> str:
    """All docstrings of a module, in order, with blank lines between them; empty if it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in other people's string literals
        module = ast.parse(source)
    found = []
    waiting: list[ast.AST] = [module]
    while waiting:  # statements only: visiting every expression, as ast.walk does, takes five times as long
        node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(ast.get_docstring(node))
        blocks = (getattr(node, block, []) for block in ("body", "handlers", "orelse", "finalbody"))
        waiting += reversed([statement for block in blocks for statement in block])
    return "\n\n".join(text for text in found if text)

"""Tokenizers as users name them on a command line: a file or folder of any kind, or a version of this repository."""

from pathlib import Path

from aura.core import paths
from aura.core.errors import UserError
from aura.tokenizer import foreign
from aura.tokenizer.foreign import FORMATS, Foreign

_MARKS = (".model", ".json", ".tiktoken")  # a name with one of them is meant as a file, though it may be missing
HELP = f"Tokenizers: {FORMATS}; or HEAD~1, a tag: {paths.TOKENIZER} there."


def load(name: str) -> Foreign:
    """A file or folder where there is one, otherwise models/spm at a revision of the repository in the current folder.

    Raises:
        UserError: it is neither, or the revision's tokenizer is in neither cache nor remote.
    """
    if Path(name).exists() or any(mark in name for mark in _MARKS):
        return foreign.load(Path(name), "/".join(Path(name).parts[-2:]))  # short enough for the head of a column
    import dvc.api
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError
    from scmrepo.exceptions import SCMError

    try:
        return foreign.from_model(dvc.api.read(str(paths.TOKENIZER_MODEL), rev=name, mode="rb"), name)
    except (DvcException, DataIndexDirError, SCMError, OSError) as error:
        raise UserError(
            f"{name}: expected {FORMATS}; or a revision whose tokenizer is in DVC's cache or the remote ({error}). "
            f"Perhaps: dvc fetch --all-commits"
        ) from None

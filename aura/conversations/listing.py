"""From a source of conversations to its files; places and pins are those of `aura/sources`."""

from pathlib import Path

from aura.conversations.options import (
    ConversationSource,
    DatasetConversations,
    DocstringConversations,
    JsonConversations,
)
from aura.conversations.recognition import KEYS
from aura.sources import listing
from aura.sources.documents.sample import sample_files
from aura.sources.input_files import InputFile, files_below, input_file
from aura.sources.materialise import Columns, materialise
from aura.sources.options import JsonSource, ParquetSource
from aura.storage.cache import Cache

_TESTS = ("_test.py", "conftest.py")  # ends of names of modules that nobody asks about


def files_of(source: ConversationSource, cache: Cache | None = None) -> list[InputFile]:
    """The files of a source, by name; a dataset's rows are fetched now. Raises `UserError` if there are none."""
    if isinstance(source, DocstringConversations):
        found = sample_files(Path(source.path))
        return [input_file(name, str(path)) for name, path in found if not name.endswith(_TESTS)]
    if isinstance(source, DatasetConversations):
        return files_below(materialise(Path(source.path), Columns(KEYS)), lambda name: name.endswith(".jsonl"))
    kind = JsonSource if isinstance(source, JsonConversations) else ParquetSource
    return listing.list_files(kind(**source.model_dump()), cache)

"""Folders of text as Python lists of (text, affect vector): for notebooks and small corpora.

The same readers, cleaning and lexicon as the pipeline's `extract`, without shards or manifests; everything is
held in memory. Documents that cannot be used are left out, as `extract` does with its default parameters.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aura.core.section import checked
from aura.core.shipped import LEXICON
from aura.core.terms import EMOTIONS
from aura.extract.accounts import FileAccount
from aura.extract.cleaning import clean
from aura.extract.readers import named_encoding
from aura.extract.rows import documents_of
from aura.sources.documents.affect import affect_vectors, read_lexicon
from aura.sources.documents.document import Lost
from aura.sources.input_files import InputFile, Links
from aura.sources.listing import list_files
from aura.sources.options import TEXT_KEYS, JsonSource, Source, TxtSource

Item = tuple[str, npt.NDArray[np.float32]]
LINKS: dict[bool, Links] = {False: "inside", True: "anywhere"}  # by whether they are followed
BUILT_IN_LEXICON = LEXICON


def load_text_corpus(
    folder: str | Path,
    documents: str = "file",
    lexicon: str | Path = BUILT_IN_LEXICON,
    *,
    encoding: str | None = None,
    follow_links: bool = False,
) -> list[Item]:
    """Documents of the .txt and .md files below `folder`, each with its affect vector of shape (8,).

    Arguments:
        folder: or one file, whatever its name.
        documents: a document is a "file", or what stands between one "blank_line" or "line" and the next.
        lexicon: words with their affects.
        encoding: of the files that are not UTF-8, such as "cp1252".
        follow_links: also read links to files outside of the folder.

    Raises:
        UserError: the folder is missing or holds no such file, or an argument has another value.
    """
    values: dict[str, Any] = {
        "path": str(folder),
        "documents": documents,
        "encoding": encoding,
        "links": LINKS[follow_links],
    }
    return _load(checked(TxtSource, {"kind": "txt", **values}, "load_text_corpus"), Path(lexicon))


def load_json_corpus(
    folder: str | Path,
    text_keys: tuple[str, ...] = TEXT_KEYS,
    lexicon: str | Path = BUILT_IN_LEXICON,
    *,
    nested: bool = False,
    encoding: str | None = None,
    follow_links: bool = False,
) -> list[Item]:
    """Documents of the .json and .jsonl files below `folder`, like `load_text_corpus`.

    Arguments:
        folder: or one file, whatever its name.
        text_keys: dotted paths; the first one that an object has gives its text.
        lexicon: words with their affects.
        nested: also read the records inside a record that has a text.
        encoding: of the files that are not UTF-8, such as "cp1252".
        follow_links: also read links to files outside of the folder.
    """
    values: dict[str, Any] = {"path": str(folder), "text_keys": list(text_keys), "nested": nested, "encoding": encoding}
    values["links"] = LINKS[follow_links]
    return _load(checked(JsonSource, {"kind": "json", **values}, "load_json_corpus"), Path(lexicon))


def load_text_corpus_all(
    txt_folder: str | Path, json_folder: str | Path, lexicon: str | Path = BUILT_IN_LEXICON
) -> list[Item]:
    """Documents of a folder of text files and of a folder of JSON files, in this order."""
    return load_text_corpus(txt_folder, lexicon=lexicon) + load_json_corpus(json_folder, lexicon=lexicon)


def read_documents(source: Source) -> Iterator[tuple[InputFile, str | Lost]]:
    """Every document of a source, cleaned (invalid UTF-8 drops it), or why it cannot be used, with its file."""
    for file in list_files(source):
        for item in documents_of(file, source, sys.maxsize, FileAccount(file.name)):  # held whole, so nothing is cut
            text = item if isinstance(item, Lost) else clean(item, "drop", 1, named_encoding(source))
            yield file, text if isinstance(text, Lost) else text.decode()


def _load(source: Source, lexicon: Path) -> list[Item]:
    texts = [text for _, text in read_documents(source) if isinstance(text, str)]
    vectors = affect_vectors([text.encode() for text in texts], read_lexicon(lexicon))
    rows = vectors.flatten().to_numpy().reshape(-1, len(EMOTIONS))
    return list(zip(texts, rows, strict=True))

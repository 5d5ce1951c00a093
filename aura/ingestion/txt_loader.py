"""Folders of text as Python lists of (text, affect vector): for notebooks and small corpora.

The same readers, cleaning and lexicon as the pipeline's `extract`, without shards or manifests; everything is
held in memory. Documents that cannot be used are left out, as `extract` does with its default parameters.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aura.ingestion.affect import affect_vectors, read_lexicon
from aura.ingestion.cleaning import clean
from aura.ingestion.compression import Damaged, decompressed
from aura.ingestion.corpus import EMOTIONS
from aura.ingestion.document import Lost
from aura.ingestion.input_files import InputFile
from aura.ingestion.listing import list_files
from aura.ingestion.readers import documents
from aura.ingestion.regular_files import open_regular
from aura.params import TEXT_KEYS, JsonSource, Source, TxtSource, encoding_of

Item = tuple[str, npt.NDArray[np.float32]]
BUILT_IN_LEXICON = Path(__file__).with_name("lexicon.tsv")


def load_text_corpus(folder: str | Path, documents: str = "file", lexicon: str | Path = BUILT_IN_LEXICON) -> list[Item]:
    """Documents of the .txt and .md files below `folder`, each with its affect vector of shape (8,).

    `documents` says what a document is: a "file" (default), or what stands between one "blank_line" or
    "line" and the next. Raises `UserError` if the folder is missing or holds no such file.
    """
    source = TxtSource.model_validate({"kind": "txt", "path": str(folder), "documents": documents})
    return _load(source, Path(lexicon))


def load_json_corpus(
    folder: str | Path,
    text_keys: tuple[str, ...] = TEXT_KEYS,
    lexicon: str | Path = BUILT_IN_LEXICON,
) -> list[Item]:
    """Documents of the .json and .jsonl files below `folder`, like `load_text_corpus`.

    `text_keys` are dotted paths; the first one that an object has gives its text.
    """
    return _load(JsonSource(kind="json", path=str(folder), text_keys=list(text_keys)), Path(lexicon))


def load_text_corpus_all(
    txt_folder: str | Path, json_folder: str | Path, lexicon: str | Path = BUILT_IN_LEXICON
) -> list[Item]:
    """Documents of a folder of text files and of a folder of JSON files, in this order."""
    return load_text_corpus(txt_folder, lexicon=lexicon) + load_json_corpus(json_folder, lexicon=lexicon)


def read_documents(source: Source) -> Iterator[tuple[InputFile, str | Lost]]:
    """Every document of a source, cleaned (invalid UTF-8 drops it), or why it cannot be used, with its file."""
    for file in list_files(source):
        for item in _raw_documents(file, source):
            text = item if isinstance(item, Lost) else clean(item, "drop", 1, encoding_of(source))
            yield file, text if isinstance(text, Lost) else text.decode()


def _raw_documents(file: InputFile, source: Source) -> Iterator[bytes | Lost]:
    if file.problem:
        yield Lost(file.problem)
        return
    try:
        with open(open_regular(file.place), "rb") as opened:  # noqa: PTH123 - a descriptor
            data = decompressed(file.name, opened.read())
    except (Damaged, OSError) as error:
        yield Lost(str(error))
        return
    yield from documents(source, io.BytesIO(data), max(len(data), 1))  # held whole, so nothing is cut


def _load(source: Source, lexicon: Path) -> list[Item]:
    texts = [text for _, text in read_documents(source) if isinstance(text, str)]
    vectors = affect_vectors([text.encode() for text in texts], read_lexicon(lexicon))
    rows = vectors.flatten().to_numpy().reshape(-1, len(EMOTIONS))
    return list(zip(texts, rows, strict=True))

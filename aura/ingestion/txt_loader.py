"""Folders of text as Python lists of (text, affect vector): for notebooks and small corpora.

The same readers, cleaning and lexicon as the pipeline's `extract`, without shards or manifests; everything is
held in memory. Documents that cannot be used are left out, as `extract` does with its default parameters.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aura.ingestion.affect import affect_vectors, read_lexicon
from aura.ingestion.cleaning import clean
from aura.ingestion.compression import Damaged, decompressed
from aura.ingestion.corpus import EMOTIONS
from aura.ingestion.readers import Lost, documents, list_files
from aura.params import TEXT_KEYS, JsonSource, Source, TxtSource

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


def cleaned(source: Source) -> Iterator[tuple[Path, str | Lost]]:
    """Each document of a source with the file it is from: its text as `extract` cleans it, or why it is lost."""
    for file in list_files(source):
        try:
            data = decompressed(file.name, file.path.read_bytes())
        except Damaged as error:
            yield file.path, Lost(str(error))
            continue
        for item in documents(source, file.name, data):
            yield file.path, item if isinstance(item, Lost) else clean(item, invalid_text="drop", min_chars=1)


def _load(source: Source, lexicon: Path) -> list[Item]:
    texts = [text for _, text in cleaned(source) if isinstance(text, str)]
    vectors = affect_vectors(pa.array(texts, pa.large_string()), read_lexicon(lexicon))
    rows = vectors.flatten().to_numpy().reshape(-1, len(EMOTIONS))
    return list(zip(texts, rows, strict=True))

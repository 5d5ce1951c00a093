"""The guide's `aura.ingestion.txt_loader`; the code is in `aura/one_shot/loaders.py`."""

from aura.one_shot.loaders import (
    BUILT_IN_LEXICON,
    load_json_corpus,
    load_text_corpus,
    load_text_corpus_all,
    read_documents,
)

__all__ = ["BUILT_IN_LEXICON", "load_json_corpus", "load_text_corpus", "load_text_corpus_all", "read_documents"]

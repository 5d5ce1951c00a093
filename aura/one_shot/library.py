"""`aura.train_tokenizer` and `aura.load_tokenizer`: a tokenizer in one call, in any folder, without a project.

Training takes the way of the pipeline: the same text and options give the same tokenizer as `dvc repro`. So a
twentieth of the documents is held out from training (select.held_out), unless there are too few to split.
"""

import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aura.core import console
from aura.core.errors import UserError
from aura.core.section import checked
from aura.one_shot import one_shot, program
from aura.project import whole_params
from aura.sources.input_files import SUFFIXES, chosen_by, files_at, has_suffix
from aura.sources.options import TEXT_KEYS, JsonSource, ParquetSource, Source, TxtSource
from aura.sources.other_suffixes import found_instead
from aura.tokenizer import opening
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from aura.train_tokenizer.artifact import Artifact

Files = str | Path | Iterable[str | Path]
_KINDS: dict[str, type[TxtSource | JsonSource | ParquetSource]] = {
    "txt": TxtSource,
    "json": JsonSource,
    "parquet": ParquetSource,
}
_VERSION = re.compile(r"[^/@]*@.*|v\d[^/]*")


def train_tokenizer(
    files: Files | None = None,
    vocab_size: int | str | None = None,
    *,
    texts: Iterable[str] | None = None,
    output: str | Path | None = None,
    documents: str | None = None,
    text_keys: Sequence[str] = TEXT_KEYS,
    encoding: str | None = None,
    quiet: bool = False,
    **options: object,
) -> Tokenizer:
    """Train a tokenizer and return it; nothing is written but what `output` asks for.

    Args:
        files: files and folders of text, or one of them: .txt, .md, .json, .jsonl and .parquet, also compressed. A
            file with another suffix is read as text.
        vocab_size: pieces, special tokens included: 264 to 1,000,000; or "tiny" (2,000), "small" (8,000), "medium"
            (16,000), "large" (32,000), "xl" (50,000), or "auto", by the scaling law with vocabulary. Left out: 8,000.
        texts: documents in memory, in the place of `files`: any iterable of str, learnt from as they are.
        output: a folder that gets the tokenizer's files, as `Tokenizer.save` writes them, and spiece_config.json, the
            record of how it was made.
        documents: in files of text, a document is a "file", or lies between one "blank_line" or "line" and the next.
            Left out: "file" in folders, "blank_line" in files that `files` names. Equal documents count once.
        text_keys: for .json and .parquet: dotted paths to the text of a record, of which the first present counts.
        encoding: of the files that are not UTF-8, such as "cp1252".
        quiet: print nothing; otherwise standard error tells what was read, what was lost and why, and the progress.
        options: any other key of the section train_tokenizer of params.yaml, such as model_type="bpe".

    Returns:
        The tokenizer: `encode(text)` gives a list of ids, `decode(ids)` the same text again, exactly.

    Raises:
        UserError: a file is missing, there is no text in it, or an option has a wrong value; the message says what to
            do. `vocab_size` may be too large for the text: the message names the largest possible.
        TypeError: `files` holds something else than names, or `texts` is one text or holds something else than str.
    """
    if (files is None) == (texts is None):
        raise UserError(
            'expected either files or texts. Write aura.train_tokenizer(["a.txt", "folder"]) to learn from files, '
            "aura.train_tokenizer(texts=[…]) to learn from texts in memory"
        )
    given = options | ({} if vocab_size is None else {"vocab_size": vocab_size})
    with console.on_stderr(quiet=quiet):
        settings = program.with_options(whole_params.defaults(), given)
        if texts is not None:
            made = artifact.build_from_texts(texts, settings.train_tokenizer)
        else:
            made = _from_files(sources_of(files or (), documents, text_keys, encoding), settings)
        if output is not None:
            made.write(Path(output))
    return Tokenizer.from_bytes(made.model)


def load_tokenizer(name: str | Path, repo: str = ".") -> AnyTokenizer:
    """Load a tokenizer: of a folder or a file, or a released version.

    Args:
        name: a folder with spiece.model, or the path of such a file; or a version, `v1.2.0`, which is verified and is
            fetched from the network only the first time (`NAME@v1.2.0` for an artifact with another name).
        repo: for a version: address or folder of the project's git repository.

    Raises:
        UserError: there is no such tokenizer, it is damaged, or its files cannot be fetched; the message says what to
            do.
    """
    if not _VERSION.fullmatch(str(name)):
        path = Path(name)
        if not opening.is_there(path):
            raise UserError(
                f"expected a folder with spiece.model, such a file, or a version such as v1.2.0; there is none at "
                f"{path}. aura.train_tokenizer makes one, and Tokenizer.save writes it"
            )
        return opening.load(path)
    from aura.sharing import versions  # DVC takes a second to import

    return versions.load_tokenizer(str(name), repo)


def sources_of(
    files: Files, documents: str | None, text_keys: Sequence[str], encoding: str | None
) -> dict[str, Source]:
    """A named source for each file, and one for each kind of files in a folder.

    Raises:
        UserError: one is missing or holds nothing to read, or an option has a wrong value.
        TypeError: `files` is no path and no list of paths, or `text_keys` no list of texts.
    """
    if isinstance(text_keys, str) or not isinstance(text_keys, Iterable):
        raise TypeError(f'text_keys: expected a list of keys, got {text_keys!r:.80}. Write text_keys=["text"]')
    found: dict[str, Source] = {}
    for path in _paths_in(files):
        own = {"txt": {"documents": documents or ("file" if path.is_dir() else "blank_line"), "encoding": encoding}}
        records: dict[str, Any] = {"text_keys": list(text_keys)}
        own |= {"json": records | {"encoding": encoding}, "parquet": records}
        for kind in _kinds_of(path):
            values = {"kind": kind, "path": str(path)} | own[kind]
            found[f"{kind}{len(found) + 1}"] = checked(_KINDS[kind], values, str(path))
    if not found:
        raise UserError(
            'expected files or folders of text, got none. Name some: aura.train_tokenizer(["a.txt", "folder"])'
        )
    return found


def _paths_in(files: object) -> list[Path]:
    """The paths, each once, in the order given."""
    is_one = isinstance(files, str | bytes | Path) or not isinstance(files, Iterable)
    listed: list[Any] = [files] if is_one else list(files)  # type: ignore[call-overload]
    wrong = [type(path).__name__ for path in listed if not isinstance(path, str | Path)]
    if wrong:
        raise TypeError(
            f"files: expected names of files and folders (str or Path), got {wrong[0]}. For texts in memory: "
            "aura.train_tokenizer(texts=[…]), of bytes: texts=[data.decode()]"
        )
    return list(dict.fromkeys(map(Path, listed)))


def _kinds_of(path: Path) -> list[str]:
    if path.is_file():
        return [next((kind for kind, suffixes in SUFFIXES.items() if has_suffix(path.name, suffixes)), "txt")]
    if not path.is_dir():
        raise UserError(
            f"expected a file or a folder of text, there is none at {str(path)[:200]!r}. Look with: ls; for texts in "
            "memory: aura.train_tokenizer(texts=[…])"
        )
    names = [file.name for file in files_at(path, bool) if not file.problem]
    kinds = [kind for kind in SUFFIXES if any(map(chosen_by(kind, None), names))]
    if not kinds:
        wanted = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        raise UserError(f"expected a folder with {wanted} files at {path}, found none: {found_instead(path)}")
    return kinds


def _from_files(sources: dict[str, Source], settings: whole_params.Params) -> Artifact:
    with tempfile.TemporaryDirectory(prefix="aura-") as work:
        request = one_shot.Request(settings, sources, Path(work))
        found = one_shot.documents_of(request, Path(work))
        return artifact.build(found.counts, found.hash, settings.train_tokenizer)

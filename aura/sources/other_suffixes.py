"""Advice about files that no kind of source reads by their suffix."""

from collections import Counter
from pathlib import Path

from aura.sources.documents.compression import FORMATS, plain_name
from aura.sources.input_files import HIDDEN, LEADS_OUT, LINKED_FOLDER, SUFFIXES, files_below

NO_SUFFIX = "no suffix"
_SHOWN = 5  # suffixes that a message names
_UNPACK = "unpack them with: {} (for one .zip or .tar, aura source add NAME zip://::FILE.zip reads it as it is)"
_DECOMPRESS = "decompress them, or compress them as .gz, .bz2, .xz or .zst"
_TABLE = (
    "turn tables into Parquet (pandas: read_csv, to_parquet), or take each line as text: --kind txt --documents line"
)
_CONVERT = "turn them into .txt with {}"
_ADVICE = {
    (".csv", ".tsv", ".xlsx", ".xls", ".ods"): _TABLE,
    (".arrow", ".feather", ".orc", ".avro", ".pq", ".parq", ".npy", ".npz"): "turn them into Parquet (.parquet)",
    (".warc", ".wet", ".wat", ".arc"): "take the text out of WARC records into .jsonl, with warcio or trafilatura",
    (".zip",): _UNPACK.format("unzip"),
    (".tar", ".tgz", ".tbz2", ".txz"): _UNPACK.format("tar -xf"),
    (".7z", ".rar"): "unpack them with: 7z x",
    (".lz4", ".br", ".lz", ".z", ".lzo"): _DECOMPRESS,
    tuple(FORMATS): "these are compressed twice, or named so: decompress them once",
    (".html", ".htm", ".xhtml"): _CONVERT.format("trafilatura or pandoc"),
    (".pdf", ".ps", ".djvu"): _CONVERT.format("pdftotext, ps2ascii or djvutxt"),
    (".docx", ".doc", ".odt", ".rtf", ".epub", ".pptx", ".mobi"): _CONVERT.format("pandoc or libreoffice --convert-to"),
    (".ipynb",): _CONVERT.format("jupyter nbconvert --to markdown"),
    (".xml",): "take the text out of the XML into .jsonl or .txt",
    (".pkl", ".pickle", ".pt", ".bin", ".safetensors", ".db", ".sqlite"): "export their text as .jsonl or Parquet",
    (NO_SUFFIX,): 'name the kind and the files: --kind json (or txt, parquet) --glob "**/*"',
}
_BY_SUFFIX = {suffix: advice for suffixes, advice in _ADVICE.items() for suffix in suffixes}


def suffix_of(name: str) -> str:
    """A name's last suffix below that of its compression, in lower case; a name may have none."""
    return Path(plain_name(name)).suffix.lower() or NO_SUFFIX


def advice(suffixes: list[str]) -> str:
    """Say how to read files with these suffixes, the commonest first; a sentence or two."""
    found: dict[str, list[str]] = {}
    for suffix in suffixes:
        found.setdefault(_BY_SUFFIX.get(suffix) or _to_read(suffix), []).append(suffix)
    return " ".join(f"{', '.join(which)}: {what}." for what, which in list(found.items())[:2])


def _to_read(suffix: str) -> str:
    kind = next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), None)
    return f"name the kind: --kind {kind}" if kind else f'to read them as text: --kind txt --glob "**/*{suffix}"'


def found_instead(folder: Path) -> str:
    """Say which files a folder holds in the place of those sought, and how to read them; one sentence or more."""
    files = files_below(folder, bool)
    left = Counter(file.problem for file in files)
    out = left[LEADS_OUT]
    names = [file.name for file in files if file.problem not in (HIDDEN, LEADS_OUT, LINKED_FOLDER)]
    if out and not names:
        return (
            f"it holds {out:,} links that lead out of it. To read what they lead to: --follow-links (links: anywhere)."
        )
    if left[LINKED_FOLDER] and not names:
        return f"it holds {left[LINKED_FOLDER]:,} links to folders. Name the folders that they lead to."
    return instead_of(names, left[HIDDEN])


def instead_of(names: list[str], hidden: int = 0) -> str:
    """The same of files or objects with these names, and so many hidden ones."""
    seen = Counter(map(suffix_of, names))
    if not seen:
        return f"it holds nothing but {hidden:,} hidden files or folders." if hidden else "it is empty."
    suffixes = [suffix for suffix, _ in seen.most_common()]
    return f"it holds only files with {', '.join(suffixes[:_SHOWN])}. {advice(suffixes)}"

"""Files that are not what their names say: what was saved in their place, told by how they begin."""

from aura.sources.documents.compression import is_compressed

HEAD_BYTES = 1024  # of a file, as it lies there, that are enough to tell
_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype html", b"<html")
_OTHERS = {
    b"\x1f\x8b": "gzip",
    b"(\xb5/\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"ARROW1": "Arrow",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
}


def impostor(kind: str, name: str, head: bytes) -> str:
    """Why a file of a source of this kind is none, from its first bytes (before decompression); empty if it may be."""
    if head.startswith(_POINTER):
        return "Git LFS pointer, not the file: run git lfs pull"
    expected = name.rpartition(".")[2] if is_compressed(name) else {"json": "JSON", "parquet": "Parquet"}.get(kind)
    if not expected:
        return ""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:20].lower().startswith(_PAGES):
        return f"HTML page, not {expected}: download it again"
    if start.startswith(b"<?xml"):
        return f"XML, not {expected}: download it again"
    if expected == "Parquet" and (
        other := next((name for magic, name in _OTHERS.items() if head.startswith(magic)), "")
    ):
        return f"{other}, not Parquet: rename or convert it"
    return ""

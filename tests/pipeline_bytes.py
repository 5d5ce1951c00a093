"""Print the hash of each output of a small pipeline: `python -m tests.pipeline_bytes`. .ci/run compares two Pythons.

The text does not depend on Python: the sample, the pages of this repository, and 40,000 characters, also such as only
newer Pythons know, between words and in words.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from tests.conftest import MINI_PARAMS, REPOSITORY, Project, copy_repository

NEWER = {*range(0x10E00, 0x12000), *range(0x1E000, 0x1FB00)}  # where newer Unicodes have most of their other scripts


def write_sources(folder: Path) -> None:
    """Fill data/pages and data/characters."""
    for place in sorted((REPOSITORY / "docs").glob("*.md")):
        page = folder / "data/pages" / f"{place.stem}.txt"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_bytes(place.read_bytes())
    characters = folder / "data/characters/all.jsonl"
    characters.parent.mkdir()
    codes = [code for code in range(0x20, 0x32400) if (code < 0x3400 or code in NEWER or code % 17 == 0)]
    codes = [code for code in codes if not 0xD800 <= code < 0xE000]
    texts = ("".join(map(_lines, codes[start : start + 64])) for start in range(0, len(codes), 64))
    characters.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def _lines(code: int) -> str:
    return f"word{chr(code)} a_{chr(code)}b 1{chr(code)}2\n"


def main() -> None:
    """Build the pipeline in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        project = Project(Path(scratch, "project"))
        copy_repository(project.folder)
        write_sources(project.folder)
        source = [sys.executable, "-m", "aura", "source", "add"]
        project.run(*source, "pages", "data/pages", "--documents", "blank_line")
        project.run(*source, "characters", "data/characters")
        project.edit_params(**MINI_PARAMS)
        project.edit_params(
            select={"held_out": 0.3, "near_duplicates": 0.8},
            train_tokenizer={"vocab_size": 2000, "character_coverage": 0.98},
            validate={"max_group_byte_fallback_share": 1.0},
        )
        project.run("git", "init", "-q", "-b", "main")
        project.run("git", "add", "-A")
        project.run("git", "commit", "-qm", "small project")
        project.run("dvc", "repro", "-q")
        print(json.dumps(project.lock(), indent=1, sort_keys=True), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "200")
    main()

"""`make docs`: pages of what a program of yours may import, written by pdoc to docs/api, or to another folder.

python docs/make_api.py [FOLDER]
"""

import sys
from pathlib import Path

import pdoc

import aura

MODULES = ("aura", "aura.ingestion.txt_loader", "aura.self_teaching_llm.tokenizer_spm")
OTHERS = r"!aura\..*"  # of the package: not for others' programs


def main(output: Path) -> None:
    """Write the pages into a folder."""
    for name in aura.__all__:  # pdoc looks for names where they would be if they were not imported when first used
        vars(aura)[name] = getattr(aura, name)
    pdoc.render.configure(docformat="google")
    pdoc.pdoc("aura", OTHERS, *MODULES[1:], output_directory=output)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent / "api")

"""`make lock`'s second half: write what the locked versions mean to DVC.

versions.json lets stages name the libraries whose version matters to their bytes, as DVC params. The sample's
pin holds the versions of the packages whose documentation it reads, and no others, so that a new pytest
does not rebuild the corpus.
"""

import re
from pathlib import Path

from aura.core import paths
from aura.core.files import write_json
from aura.extract.documents.sample import PACKAGES

REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def main() -> None:
    """Write versions.json and data/sample.pin.json from requirements.txt."""
    versions = dict(sorted(REQUIREMENT.findall(Path("requirements.txt").read_text(encoding="utf-8"))))
    write_json(Path("versions.json"), versions)
    write_json(paths.DATA / "sample.pin.json", {"packages": {name: versions[name] for name in PACKAGES}})


if __name__ == "__main__":
    main()

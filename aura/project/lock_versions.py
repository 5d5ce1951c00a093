"""`make lock`'s second half: write what the locked versions mean to DVC.

versions.json lets stages name the libraries whose version matters to their bytes, as DVC params. The pins of
the sample and of the built-in conversations hold the versions of the packages that they read, and no others, so that a
new pytest does not rebuild the corpus. All are the same with every Python, because the lock holds one version of each
package.
"""

import re
from collections import Counter
from pathlib import Path

from aura.conversations import docstring_questions
from aura.core import console, paths
from aura.core.errors import UserError
from aura.core.files import write_json
from aura.sources.documents.sample import PACKAGES

REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def locked(requirements: str) -> dict[str, str]:
    """The version of each package in a lock, by name; two versions of one package are a `UserError`."""
    found = sorted(set(REQUIREMENT.findall(requirements)))
    if several := [name for name, times in Counter(name for name, _ in found).items() if times > 1]:
        raise UserError(
            f"requirements.txt: expected one version of {', '.join(several)} for all Pythons, got several, which may "
            "make other bytes. Bound the package in pyproject.toml, then run: make lock"
        )
    return dict(found)


def main() -> None:
    """Write versions.json, data/sample.pin.json and data/conversations.pin.json from requirements.txt."""
    versions = locked(Path("requirements.txt").read_text(encoding="utf-8"))
    write_json(Path("versions.json"), versions)
    for pin, packages in (("sample", PACKAGES), ("conversations", docstring_questions.PACKAGES)):
        write_json(paths.DATA / f"{pin}.pin.json", {"packages": {name: versions[name] for name in packages}})


if __name__ == "__main__":
    console.run(main)

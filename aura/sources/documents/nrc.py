"""The NRC Emotion Lexicon out of the NRCLex package, an extra: `pip install 'aura[nrc]'`.

Mohammad and Turney, Crowdsourcing a Word-Emotion Association Lexicon, Computational Intelligence 29 (3), 2013. The
package's code is MIT, the lexicon in it is for research only; so it is neither in the lock nor switched on by itself,
and each run that uses it says so. Its data file is read, its code is not run.
"""

from importlib import metadata
from pathlib import Path

from aura.core.bounded import mismatch
from aura.core.errors import UserError
from aura.core.files import read_object

PACKAGE, DATA = "NRCLex", "nrclex/data/nrc_en.json"
NOTICE = (
    "note: affect vectors come from the NRC Emotion Lexicon, which is licensed for research only. Commercial use, of "
    "what is made with it too, needs a licence of the National Research Council Canada; publications cite Mohammad and "
    "Turney (2013)."
)


def is_nrc(path: Path) -> bool:
    """Return whether `extract.lexicon` names the pin of this lexicon."""
    return path.name == "nrc.pin.json"


def read(pin: Path) -> dict[str, list[str]]:
    """Its words with their emotions, sentiment included; `UserError` unless the pinned version is installed."""
    version = read_object(pin, made_by="git checkout aura/ingestion/nrc.pin.json", version=str)["version"]
    try:
        distribution = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise UserError(
            f"{pin} needs {PACKAGE} {version}, which is not installed. It is for research only; if that suits you: "
            f"pip install --no-deps {PACKAGE}=={version}"
        ) from None
    if distribution.version != version:
        raise UserError(
            f"{pin}: expected {PACKAGE} {version}; installed is {distribution.version}. "
            f"Run: pip install --no-deps {PACKAGE}=={version}"
        )
    made_by = f"pip install --force-reinstall --no-deps {PACKAGE}=={version}"
    read = read_object(Path(str(distribution.locate_file(DATA))), made_by)
    if wrong := mismatch(read, {str: [str]}):
        raise UserError(f"the lexicon of {PACKAGE} is damaged: {wrong}. Run: {made_by}")
    return read

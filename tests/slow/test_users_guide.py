"""Every block of the guide that users have is run as written, in a project with 13 MB of real text.

Paths are adapted: `scripts/` is `stages/` here, and `src/aura/` is `aura/`. The first command and the automatic size
get all of the text; the others get 2 MB of it, and sizes that it allows.
"""

import json
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aura.corpus.corpus import text_hash
from aura.one_shot import program
from aura.sources.documents.sample import docstrings, sample_files
from tests.conftest import REPOSITORY, Project

pytestmark = pytest.mark.slow
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
TEXT, SMALL = 13_500_000, 2_000_000  # bytes: the least of it that gives 32,000 pieces, and so much for the others
WHOLE = ("Basic Training", "Issue: Vocab size too large/small")  # headings of the blocks that get all of the text
ADAPTED = {"scripts/": "stages/", "from scripts.": "from stages.", "src/aura/": "aura/", "\\\\\n": "\\\n"}
SUBSTITUTIONS = {
    "data/txt": "data/small",
    "32000": "3000",
    "16000": "2500",
    "--max_files 1000": "--max_files 200",
    "--max_samples 100000": "--max_samples 60",
    "i >= 100000": "i >= 60",
    "--dataset allenai/c4": "--dataset data/hub",  # a dataset repository in a local folder: tests have no network
    "--config en": "--config default",
    "'allenai/c4', 'en'": "'data/hub'",
    "--steps 1000": "--steps 3 --config default",
    "/path/to/your/data": "data/small",
    "sh launch_optimized": "sh launch_optimized --help",  # tests/tpu/test_launch.py launches on a stand-in cloud
    "sh setup": "sh setup --help",
}
NOT_RUN = {  # by a word of the block, and why
    "pip install": "needs a package index; .ci/run makes the environment in a clean clone",
    "gcloud compute": "needs a TPU, and the CLI of a cloud",
}
OPTIONS = ["--txt_dirs", "data/small", "--output", "models/spm_options", "--vocab_size", "2000"]  # of a block without


@dataclass(frozen=True)
class Block:
    """A block of the guide, and the heading that it stands under."""

    heading: str
    language: str
    text: str

    @property
    def reason_not_run(self) -> str | None:
        return next((reason for word, reason in NOT_RUN.items() if word in self.text), None)

    def adapted(self) -> str:
        """The block with our paths, and sizes that the text allows."""
        text = self.text
        for written, used in (ADAPTED | ({} if self.heading in WHOLE else SUBSTITUTIONS)).items():
            text = text.replace(written, used)
        return text

    def options(self) -> list[str]:
        """The words of a block of options alone; none of a block of commands."""
        lines = [line.partition("#")[0] for line in self.adapted().splitlines()]
        return shlex.split(" ".join(lines)) if all(line.startswith("--") or not line.strip() for line in lines) else []


def blocks() -> Iterator[Block]:
    page = (REPOSITORY / "tests/slow/users_guide.txt").read_text(encoding="utf-8")
    for match in BLOCK.finditer(page):
        heading = HEADING.findall(page[: match.start()])[-1].strip("*")
        yield Block(heading, match[1], match[2])


@pytest.fixture
def reader(tmp_path: Path) -> Project:
    """A project with this repository's code, the text that the guide names, and nothing built."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("aura", "stages"):
        (folder / name).symlink_to(REPOSITORY / name)
    for name in ("versions.json", "dvc.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    params = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    source = "small: {kind: txt, path: data/small}"  # of a command that names none
    (folder / "params.yaml").write_text(params.replace("sample: {kind: sample, path: data/sample.pin.json}", source))
    write_text(folder / "data")
    return Project(folder)


def write_text(data: Path) -> None:
    """Docstrings of installed packages, a file a module: `txt` has TEXT bytes, other folders the first SMALL bytes."""
    for name in ("txt", "small", "json", "pretrain", "hub"):
        (data / name).mkdir(parents=True)
    size, texts = 0, []
    modules = sample_files(REPOSITORY / "data/sample.pin.json")
    for name, path in sorted(modules, key=lambda module: text_hash(module[0].encode())):  # of all packages alike
        if size < TEXT and (text := docstrings(path.read_bytes())):
            name = name.replace("/", "-").removesuffix(".py")
            (data / f"txt/{name}.txt").write_text(text, encoding="utf-8")
            texts += [text] if size < SMALL else []
            size += len(text.encode())
    assert size >= TEXT
    for place, text in enumerate(texts):
        (data / f"small/{place:04d}.txt").write_text(text, encoding="utf-8")
    records = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    for name in ("json", "pretrain", "hub"):
        (data / name / "records.jsonl").write_text(records, encoding="utf-8")
    for name in ("kb", "more_data"):
        shutil.copytree(data / "small", data / name)
    (data / "corpus.txt").write_text("\n\n".join(texts), encoding="utf-8")


def test_every_block_works_as_written(reader: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(reader.folder)
    done: set[str] = set()
    for block in blocks():
        if block.reason_not_run or block.adapted() in done:
            continue
        done.add(block.adapted())
        started = time.monotonic()
        if options := block.options():
            with pytest.raises(SystemExit) as ended:
                program.main([*OPTIONS, *options])  # no command, so no program of its own: that takes 1 s to start
            assert not ended.value.code, block.heading
        else:
            run(reader, block)
        print(f"{time.monotonic() - started:.1f}", block.heading, flush=True)
    assert json.loads(Path("models/spm_small/spiece_config.json").read_text())["vocabulary"]["size"] == 2000


def run(reader: Project, block: Block) -> None:
    """Run a block of commands or of Python; its programs must end with 0, and with no traceback."""
    if block.language == "bash":
        done = reader.run("bash", "-e", "-c", block.adapted(), check=False)
    else:
        script = reader.folder.parent / "block.py"
        script.write_text(block.adapted(), encoding="utf-8")
        done = reader.run("python", str(script), check=False)
    told = f"{block.heading}\n{block.adapted()}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    assert "Traceback" not in done.stderr, told
    if block.heading in WHOLE:
        assert "[x] validation: every gate of params.yaml held" in done.stdout, told
    if block.heading == WHOLE[1]:
        size = int(re.search(r"taken: ([\d,]+), as", done.stdout)[1].replace(",", ""))
        assert 4096 <= size <= 32768, told


def test_the_tables_name_only_what_is_there():
    texts = [block.text for block in blocks()]
    adapted = [block.adapted() for block in blocks()]
    assert not [word for word in NOT_RUN if not any(word in text for text in texts)]
    assert not [used for used in SUBSTITUTIONS.values() if not any(used in text for text in adapted)]
    assert {block.heading for block in blocks()} >= set(WHOLE)

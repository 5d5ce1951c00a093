"""Every command of docs/guide.md and README.md is run, in the order of the page, in a copy of the mini project."""

import json
import re
import shutil
from dataclasses import dataclass

import pytest

from tests.conftest import REPOSITORY, Project, stdlib_texts

PAGES = GUIDE, README = "docs/guide.md", "README.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# All that is changed in a command before it is run: sizes that a mini corpus allows, and the reader's own paths.
SUBSTITUTIONS = {
    "32000": "800",
    "16000": "700",
    "8000": "650",
    "4000": "600",
    "2000": "500",
    "--max_files 1000": "--max_files 60",
    "--max_samples 100000": "--max_samples 60",
    "--max-documents 100000": "--max-documents 60",
    "allenai/c4": "data/hub",  # a dataset repository in a local folder: tests have no network
    "--config en": "--config default",
    "--steps 1000": "--steps 10",
    "--steps 100 ": "--steps 4 ",
    "aura chat\n": "aura chat </dev/null\n",  # nobody types
    "aura chat  ": "aura chat </dev/null  ",
    "--top-p 0.9": "--top-p 0.9 </dev/null",
    "models/chat_instruct": "models/chat_instruct </dev/null",
    "steps=100": "steps=4",
    "steps=20": "steps=2",
    "/path/to/your/data": "data/kb",
    "/path/to/shared/folder": "../store",
    "gs://BUCKET/PREFIX": "../store",
    "aura doctor    ": "git add -A; git commit -qm built; aura doctor",  # one of its checks; the reader knows git
    '"a.txt"': '"data/corpus.txt"',
    "gs://bucket/texts": "data/kb",  # buckets are read in tests/extract/test_bucket.py
}

# Blocks that are not run, by their first words, and why.
NOT_RUN = {
    "make setup\n": "builds the environment from a package index; .ci/run does it in a clean clone",
    "make  ": "builds the environment, then runs pipeline and tests; .ci/run does it in a clean clone",
}


@dataclass(frozen=True)
class Block:
    """A command of a page, and the line it stands on."""

    page: str
    line: int
    language: str
    text: str

    @property
    def reason_not_run(self) -> str | None:
        return next((reason for words, reason in NOT_RUN.items() if self.text.startswith(words)), None)


def blocks() -> list[Block]:
    pages = {page: (REPOSITORY / page).read_text(encoding="utf-8") for page in PAGES}
    return [
        Block(page, text[: match.start()].count("\n") + 2, match[1], match[2])
        for page, text in pages.items()
        for match in BLOCK.finditer(text)
    ]


@pytest.fixture
def reader(project: Project) -> Project:
    """The project of somebody who follows a page: with the folders of text that the pages name."""
    data = project.folder / "data"
    for name, source in (("txt", "books"), ("kb", "pinned"), ("more_data", "pinned")):
        shutil.copytree(data / source, data / name)
    for name in ("json", "pretrain"):
        shutil.copytree(data / "posts", data / name)
    shutil.copytree(data / "posts", data / "hub")
    records = [
        {"instruction": f"What is {a} plus {b}?", "output": f"It is {a + b}."} for a in range(9) for b in range(9)
    ]
    (data / "instructions.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    questions = [
        {"question": f"{a} plus {a} is", "choices": [f"{2 * a}", f"{3 * a}"], "answer": 0} for a in range(1, 9)
    ]
    (data / "mine.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in questions))
    (data / "corpus.txt").write_text("\n\n".join(stdlib_texts(200)), encoding="utf-8")
    return project


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_works_as_written(reader: Project, page: str):
    """One test a page, because its commands build on those before them."""
    for block in blocks():
        if block.page == page and not block.reason_not_run:
            run(reader, block)


def run(reader: Project, block: Block) -> None:
    command = block.text
    for written, used in SUBSTITUTIONS.items():
        command = command.replace(written, used)
    if block.language == "bash":
        done = reader.run("bash", "-e", "-c", command, check=False)
    else:
        script = reader.folder.parent / "block.py"
        script.write_text(command, encoding="utf-8")
        done = reader.run("python", str(script), check=False)
    told = f"{block.page}:{block.line}\n{command}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    assert "Traceback" not in done.stderr, told


def test_the_tables_name_only_what_is_there():
    texts = [block.text for block in blocks()]
    assert not [words for words in NOT_RUN if not any(text.startswith(words) for text in texts)]
    assert not [written for written in SUBSTITUTIONS if not any(written in text for text in texts)]


@pytest.mark.parametrize("page", PAGES)
def test_every_fence_is_a_command_or_plain(page: str):
    """So that no command hides under another name, such as ```sh, and is never run."""
    fences = re.findall(r"^```(.*)$", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences) <= {"bash", "python", "mermaid", ""}  # a mermaid is a picture
    assert len(fences) % 2 == 0

"""`aura init`: a project of one's own, made from the pipeline, params and rules that this package ships.

Such a project has no folder of code, because its stages run from the installed package. So its dvc.yaml lists, in the
place of files of aura, a hash of each stage's code in versions.json (`aura/core/own_code.py`). `update` writes that
file again after another aura, or another library, was installed; dvc then runs what that concerns.
"""

import json
import logging
import os
import re
from collections.abc import Iterable
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from aura.conversations import docstring_questions
from aura.core import dvc_environment, own_code, paths
from aura.core.bounded import read_yaml
from aura.core.errors import UserError
from aura.core.files import read_object, read_pipeline, write_bytes, write_json
from aura.core.libraries import CODE, DECISIVE, UPDATE, VERSIONS_FILE
from aura.core.params import PARAMS_FILE
from aura.core.shipped import LEXICON, PARAMS, PIPELINE, TEMPLATE
from aura.project import conversation_sources, lock_merge, source_entries, yaml_edits
from aura.sharing.git import GitFailed, git
from aura.sources.documents.sample import PACKAGES

SAMPLE, DOCSTRINGS = "sample", "docstrings"
SAMPLE_PIN = paths.DATA / "sample.pin.json"
CONVERSATIONS_PIN = paths.DATA / "conversations.pin.json"
LEXICONS = "lexicons"  # a folder of the project
_PACKAGED = f"aura/{LEXICON.parent.name}"  # where params.yaml of a clone has them
_RULES = ("gitignore", "dvcignore", "gitattributes")  # files of the template, whose names then begin with a dot
_KEPT = ("README.md", ".gitattributes", ".dvcignore")  # what a repository may have of its own
_HEAD = """\
# The pipeline, as `aura init` made it. Each stage lists its params key by key, the libraries whose version matters to
# its bytes, and the hash of its code in the installed aura (`aura.NAME` in versions.json). So this page says what
# reruns a stage. After an upgrade: aura init --update

"""
_ADDED = "# Added by aura init --update; a rule that is not wanted stays off behind a #."
_README = """\
# {name}

A tokenizer and a language model, built by aura: text in, and later only what changed.

    dvc repro                                       # build: the corpus, models/spm, reports, data/tokens, models/lm
    aura source add news FOLDER --only              # your own text, in the place of the sample
    dvc exp run -S train_tokenizer.vocab_size=4000  # try a value; params.yaml has all of them, with their ranges
    aura why                                        # what would run, and why
    aura init --update                              # after an upgrade of aura or of a library
    aura plots                                      # once in each clone: dvc plots show then needs no network

Commit dvc.lock after each build: it says what was made of what.
"""


def create(folder: Path) -> None:
    """Make a project in a new or empty folder, or in a git repository that has none of its files.

    Interrupted, it goes on where it was: dvc.yaml is written last, and then comes the commit.

    Raises:
        UserError: the folder is a project already, or holds what would be replaced or mixed with it.
    """
    contents = _contents(folder)
    _require_free(folder, contents[str(paths.PIPELINE_FILE)])
    clashes = [name for name, content in contents.items() if _differs(folder / name, content) and name not in _KEPT]
    if clashes:
        raise UserError(
            f"{folder} has files of the names that a project needs: {', '.join(clashes)}. Move them away, or name "
            "another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".git").exists():
        git("init", "--quiet", "--initial-branch=main", folder=folder)
    for name, content in contents.items():
        if name == str(paths.PIPELINE_FILE):
            _begin_dvc(folder)  # with our .dvcignore in its place
        if not (name in _KEPT and (folder / name).exists()):
            write_bytes(folder / name, content)
    lock_merge.register(folder)
    _commit([*contents, ".dvc/config", ".dvc/.gitignore"], folder)


def update(folder: Path) -> tuple[list[str], list[str]]:
    """Write versions.json and the pins of installed packages as is installed now; .gitignore gets rules it lacks.

    Returns:
        What changed, in words; and what dvc.yaml lacks of this version's pipeline, in words.

    Raises:
        UserError: the folder is no project that `aura init` made.
    """
    place = folder / VERSIONS_FILE
    before = read_object(place, made_by="aura init FOLDER, in a project of your own")
    if CODE not in before:
        raise UserError(f"{place} is that of a clone of aura, whose versions its lock says. Run: make setup")
    lacking = _lacking(folder)
    now = installed()
    write_json(place, now)
    for pin in (SAMPLE_PIN, CONVERSATIONS_PIN):
        if (folder / pin).exists():
            pinned = read_object(folder / pin, made_by=UPDATE, packages={str: str})["packages"]
            if _installed_pin(pinned) != {"packages": pinned}:  # otherwise its source need not be read again
                write_json(folder / pin, _installed_pin(pinned))
    old, new = _flat(before), _flat(now)
    changed = [_told(name, old.get(name), new.get(name)) for name in new if old.get(name) != new[name]]
    return changed + [f".gitignore: {rule}" for rule in _add_rules(folder / ".gitignore")], lacking


def _add_rules(path: Path) -> list[str]:
    """Add to a .gitignore the rules of this version that it lacks, at its end; one behind a # is there, and off."""
    own = path.read_bytes() if path.exists() else b""
    there = {line.lstrip("#").strip() for line in own.decode(errors="replace").splitlines()}
    shipped = (TEMPLATE / "gitignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in shipped if rule.strip() and not rule.startswith("#") and rule not in there]
    if rules:
        begin = own.rstrip() + b"\n\n" if own.strip() else b""
        write_bytes(path, begin + "\n".join([_ADDED, *rules, ""]).encode())
    return rules


def installed() -> dict[str, Any]:
    """The content of versions.json: the code of each stage, and the versions of the libraries that stages name."""
    shipped = read_yaml(PIPELINE.read_text(encoding="utf-8"))["stages"]
    named = {name for entry in shipped.values() for listed in _libraries(entry.get("do", entry)) for name in listed}
    return {CODE: own_code.of_stages()} | {name: metadata.version(name) for name in sorted(named | {*DECISIVE})}


def pipeline(text: str) -> str:
    """The dvc.yaml of a project: that of this package, with a stage's code as a param instead of files."""
    yaml, written = YAML(), StringIO()
    yaml.width = 120
    read = yaml.load(text[re.search(r"^stages:", text, re.MULTILINE).start() :])  # type: ignore[union-attr]
    for stage, entry in read["stages"].items():
        own = entry.get("do", entry)
        for place in reversed([place for place, dep in enumerate(own["deps"]) if str(dep).startswith("aura/")]):
            del own["deps"][place]
        _libraries(own)[0].insert(0, f"{CODE}.{stage}")
    yaml.dump(read, written)
    return _HEAD + written.getvalue()


def _libraries(entry: Any) -> Any:  # noqa: ANN401 - of YAML
    """The lists of libraries in a stage's entry, which belong to the entry."""
    return [named[str(VERSIONS_FILE)] for named in entry["params"] if isinstance(named, dict)]


def _contents(folder: Path) -> dict[str, bytes]:
    """Every file of a project by its name, dvc.yaml last."""
    values, stages = _with_the_sample_alone(PARAMS.read_text(encoding="utf-8"), PIPELINE.read_text(encoding="utf-8"))
    rules = {f".{name}": (TEMPLATE / name).read_bytes() for name in _RULES}
    if (folder / ".gitignore").exists():
        own = (folder / ".gitignore").read_bytes()
        rules[".gitignore"] = own if rules[".gitignore"] in own else own.rstrip() + b"\n\n" + rules[".gitignore"]
    return {
        **rules,
        "README.md": _README.format(name=folder.resolve().name).encode(),
        **{f"{LEXICONS}/{path.name}": path.read_bytes() for path in sorted(LEXICON.parent.glob("*.[tj]s*"))},
        str(SAMPLE_PIN): _json(_installed_pin(PACKAGES)),
        str(CONVERSATIONS_PIN): _json(_installed_pin(docstring_questions.PACKAGES)),
        str(VERSIONS_FILE): _json(installed()),
        str(PARAMS_FILE): values.replace(f"{_PACKAGED}/", f"{LEXICONS}/").encode(),
        str(paths.PIPELINE_FILE): pipeline(stages).encode(),
    }


def _with_the_sample_alone(values: str, stages: str) -> tuple[str, str]:
    """params.yaml and dvc.yaml with the built-in sources alone, without store and cluster: a clone may have others."""
    sources = read_yaml(values)["extract"]["sources"]
    if SAMPLE not in sources:
        values = yaml_edits.with_entry(
            values, source_entries.SOURCES, SAMPLE, {"kind": SAMPLE, "path": str(SAMPLE_PIN)}
        )
        stages = yaml_edits.with_item(stages, source_entries.DEPS, str(source_entries.extracted(SAMPLE)), 0)
    values, stages = source_entries.without([name for name in sources if name != SAMPLE], values, stages)
    talks = read_yaml(values)["conversations"]["sources"]
    if DOCSTRINGS not in talks:
        values, stages = conversation_sources.entered(
            DOCSTRINGS, {"kind": DOCSTRINGS, "path": str(CONVERSATIONS_PIN)}, values, stages
        )
    values, stages = conversation_sources.without([name for name in talks if name != DOCSTRINGS], values, stages)
    return re.sub(r"^(store|cluster): \S+", r"\1: null", values, flags=re.MULTILINE), stages


def _require_free(folder: Path, pipeline_here: bytes) -> None:
    if os.path.lexists(folder) and not folder.is_dir():
        kind = "a file" if folder.exists() else "a link to nothing"
        raise UserError(f"expected a folder, {folder} is {kind}. Name another: aura init FOLDER")
    if (folder / paths.PIPELINE_FILE).exists() and not _was_interrupted(folder, pipeline_here):
        raise UserError(
            f"{folder} has a dvc.yaml, so it is a project already. To take in what was installed since: {UPDATE}; for "
            "another project, name a new folder"
        )
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if there and ".git" not in there:
        more = ", …" if len(there) > 3 else ""
        raise UserError(
            f"expected a new or empty folder, or a git repository; {folder} holds {', '.join(there[:3])}{more}. Name "
            "another folder; your text may stay where it is, for: aura source add NAME FOLDER"
        )


def _was_interrupted(folder: Path, pipeline_here: bytes) -> bool:
    """Return whether `create` wrote dvc.yaml, and git has it in no commit yet or not at all."""
    if not (folder / ".git").exists() or (folder / paths.PIPELINE_FILE).read_bytes() != pipeline_here:
        return False
    try:
        git("ls-files", "--error-unmatch", "--", str(paths.PIPELINE_FILE), folder=folder)
        git("rev-parse", "--verify", "--quiet", "HEAD", folder=folder)
    except GitFailed:
        return True
    return False


def _differs(path: Path, content: bytes) -> bool:
    if path.name == ".gitignore":
        return False
    return path.is_dir() or (path.exists() and path.read_bytes() != content)


def _begin_dvc(folder: Path) -> None:
    """Set DVC up. Plain `dvc` will keep its index, which holds pickles, where this user alone may write.

    DVC begins with an empty config: one with content is the repository's own, or was written here, last of all.
    """
    config, local = folder / ".dvc/config", folder / ".dvc/config.local"
    if config.exists() and config.read_bytes().strip():
        return
    dvc_environment.prepare()
    from dvc.repo import Repo  # takes a second to import, and reads the environment then

    logging.getLogger("dvc").setLevel(logging.WARNING)
    if not (config.exists() and (folder / ".dvc/.gitignore").exists()):
        Repo.init(str(folder), force=True).close()
    if not local.exists():
        own = f'[core]\n    site_cache_dir = "{os.environ[dvc_environment.SITE_CACHE]}"\n'
        write_bytes(local, own.encode())
    write_bytes(config, b"[core]\n    analytics = false\n")


def _commit(names: list[str], folder: Path) -> None:
    """Stage the files of a project, and make them the first commit where there is none: DVC and DVCLive need one."""
    git("add", "--force", "--", *names, folder=folder)
    try:
        git("rev-parse", "--verify", "--quiet", "HEAD", folder=folder)
        return
    except GitFailed:
        pass
    command = ["commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message=A project of aura", "--", *names]
    try:
        git(*command, folder=folder)
    except GitFailed:  # git knows no name and address of the user
        git("-c", "user.name=aura", "-c", "user.email=aura@localhost", *command, folder=folder)


def _lacking(folder: Path) -> list[str]:
    """Say what the stages of this version list that those of a project's dvc.yaml do not."""
    wanted = read_yaml(pipeline(PIPELINE.read_text(encoding="utf-8")))["stages"]
    there = read_pipeline(folder / paths.PIPELINE_FILE, stages={str: dict})["stages"]
    found = []
    for stage, entry in wanted.items():
        own = there.get(stage, {})
        missing = _named(entry.get("do", entry)) - _named(own.get("do", own))
        found += [f"{stage}: {what}" for what in sorted(missing) if not what.startswith(f"deps: {paths.EXTRACTED}")]
    return found


def _named(entry: dict[str, Any]) -> set[str]:
    """Each item of a stage's lists, with the list that it is in."""
    found = set()
    for key in ("deps", "params", "outs", "metrics", "plots"):
        for item in entry.get(key, []):
            inner = item.values() if isinstance(item, dict) and key == "params" else ()
            found |= {f"{key}: {VERSIONS_FILE}: {name}" for names in inner for name in names}
            found |= set() if inner else {f"{key}: {next(iter(item)) if isinstance(item, dict) else item}"}
    return found


def _installed_pin(packages: Iterable[str]) -> dict[str, dict[str, str]]:
    return {"packages": {name: metadata.version(name) for name in packages}}


def _json(value: Any) -> bytes:  # noqa: ANN401 - anything JSON can hold
    return (json.dumps(value, indent=2) + "\n").encode()


def _flat(versions: dict[str, Any]) -> dict[str, str]:
    code = {f"{CODE}.{stage}": value for stage, value in versions[CODE].items()}
    return code | {name: value for name, value in versions.items() if name != CODE}


def _told(name: str, before: str | None, now: str | None) -> str:
    return f"{name}: other code" if name.startswith(f"{CODE}.") else f"{name}: {before} → {now}"

"""Changes of a finished tokenizer that need no training: names for its reserved slots, and its export written again.

All that was made before still works with the new version. In the pipeline a name goes into params.yaml, from where
training takes it ever after. It goes into models/spm and dvc.lock, too, just as training would put it there. So the
tokenizer is not trained again, also where it is frozen. Beside the pipeline, the names go into a new folder.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException

from aura.core import checksums, files, params, paths
from aura.core.errors import UserError
from aura.project import recorded_inputs, whole_params, yaml_edits
from aura.sharing.remote import open_repo
from aura.tokenizer import adopted_record, hf_export, naming_proof, slots
from aura.tokenizer.tokenizer import COPY, Tokenizer
from aura.train_tokenizer import artifact, train
from aura.train_tokenizer.artifact import Artifact

STAGE, KEY = "train_tokenizer", "extra_special_tokens"


class Named(NamedTuple):
    """All names of slots with their ids, and what was found equal before and after the new ones.

    Both are empty without a tokenizer, which then gets the names from params.yaml when it is made.
    """

    ids: dict[str, int]
    proof: list[str]


def in_folder(folder: Path, output: Path, names: Sequence[str]) -> Named:
    """Write the tokenizer of `folder` with `names` in its first free slots to `output`.

    Raises:
        UserError: `output` is there already, `folder` holds no whole tokenizer, or a name cannot be given.
    """
    if output.exists():
        raise UserError(f"{output} is there already. Name another folder: --output FOLDER")
    made, proof = _renamed(folder, names)
    with files.replaced_folder(output) as partial:
        made.write_output(partial)
    return Named(_named_slots(made), proof)


def in_pipeline(names: Sequence[str]) -> Named:
    """Name slots in params.yaml, and in models/spm and dvc.lock if the tokenizer is there as dvc.lock has it.

    Otherwise nothing is returned, and `dvc repro` puts the names there.

    Raises:
        UserError: a name cannot be given; nothing is changed then.
    """
    options = whole_params.load().train_tokenizer
    if options.base is not None:
        raise UserError(
            f"train_tokenizer.from: {options.base}: an adopted tokenizer stays as it is. Name slots of one that aura "
            "made in a folder of its own (--from FOLDER --output FOLDER), and adopt that"
        )
    wanted = [*options.extra_special_tokens, *names]
    train.symbols_of(artifact.with_changes(options, extra_special_tokens=wanted))  # refuses what training would refuse
    made, proof = _renamed(paths.TOKENIZER, names) if _is_as_locked() else (None, [])
    if made is not None and [*_named_slots(made)] != wanted:
        made = None  # params.yaml was edited since
    _write_params(len(options.extra_special_tokens), names)
    if made is None:
        return Named({}, [])
    with files.replaced_folder(paths.TOKENIZER) as partial:
        made.write_output(partial)
    _record(wanted)
    return Named(_named_slots(made), proof)


def export_again(folder: Path = paths.TOKENIZER) -> tuple[list[str], bool]:
    """Write again, from the spiece.model of a folder, the files that other programs read; its other files stay.

    Returns the names of these files, and whether dvc.lock has them now: it gets those of models/spm, if that folder
    was as dvc.lock has it before.

    Raises:
        UserError: the folder holds no tokenizer of ours, or DVC cannot take the files in.
    """
    Tokenizer.load(folder / "spiece.model")  # checks it, and its golden encodings
    made_by = f"dvc repro {STAGE}"
    made = hf_export.export((folder / "spiece.model").read_bytes())
    is_recorded = folder.resolve() == paths.TOKENIZER.resolve() and _is_as_locked()
    for name, content in made.items():
        files.write_bytes(folder / name, content)
    if COPY not in made:
        (folder / COPY).unlink(missing_ok=True)
    checksums.update(folder, {*made, COPY}, made_by)
    if is_recorded:
        _record()
    return [*made], is_recorded


def _require_trained(folder: Path) -> None:
    if adopted_record.is_adopted(folder) and not (folder / "spiece_config.json").exists():
        raise UserError(
            f"{folder} holds an adopted tokenizer: its file stays as it is. Name its tokens in train_tokenizer.roles"
        )


def _renamed(folder: Path, names: Sequence[str]) -> tuple[Artifact, list[str]]:
    """The tokenizer of a folder with more names, as training with them would have made it, and what stayed equal."""
    _require_trained(folder)
    tokenizer = Tokenizer.load(folder / "spiece.model")  # checks it, and its golden encodings
    content = slots.named((folder / "spiece.model").read_bytes(), names)
    checksums.verify(folder, f"dvc repro {STAGE}", required=False)
    config = files.read_object(folder / "spiece_config.json", f"dvc repro {STAGE}", options=dict)
    named = Tokenizer.from_bytes(content)
    proof = naming_proof.prove(tokenizer, named, names)
    special = {named.piece(token): token for token in range(tokenizer.vocab_size) if named.is_special(token)}
    config["options"][KEY] = slots.own_names([*special])
    config |= {"special_tokens": special, "model_sha256": hashlib.sha256(content).hexdigest()}
    return Artifact(content, config), proof


def _named_slots(made: Artifact) -> dict[str, int]:
    special: dict[str, int] = made.config["special_tokens"]
    return {name: special[name] for name in made.config["options"][KEY]}


def _write_params(there: int, names: Sequence[str]) -> None:
    """Put `names` behind the `there` that params.yaml has; every other byte stays."""
    text = params.PARAMS_FILE.read_bytes().decode()  # line ends as they are
    for place, name in enumerate(names, there):
        text = yaml_edits.with_item(text, (STAGE, KEY), name, place)
    whole_params.parse(text, params.PARAMS_FILE)
    files.write_bytes(params.PARAMS_FILE, text.encode())


def _is_as_locked() -> bool:
    """Return whether models/spm is what dvc.lock says. It is not if the tokenizer was never made, or made by hand."""
    if not paths.TOKENIZER_MODEL.exists():
        return False
    with open_repo() as repo:
        stage = repo.stage.load_one(name=STAGE)
        return all(out.hash_info and not out.status() for out in stage.outs)


def _record(names: Sequence[str] | None = None) -> None:
    """Put models/spm as it is now, and the names if given, into dvc.lock and DVC's cache; nothing else of the stage."""
    with open_repo() as repo, repo.lock:
        stage = repo.stage.load_one(name=STAGE)
        if names is not None:
            recorded_inputs.put_param(STAGE, f"{STAGE}.{KEY}", list(names))
        try:
            for out in stage.outs:
                out.save()
                out.commit()
        except DvcException as error:
            raise UserError(f"DVC could not take {paths.TOKENIZER} in ({error}). Run: dvc repro {STAGE}") from None
        for dep in stage.deps:
            if names is not None and isinstance(dep, ParamsDependency) and f"{STAGE}.{KEY}" in dep.params:
                dep.hash_info.value[f"{STAGE}.{KEY}"] = list(names)
        stage.dump(update_pipeline=False)

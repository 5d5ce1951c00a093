"""Files that a stage reads on a pod, by their place in the project's copy there.

Of data/tokens, a stage that only measures on it gets the held-out part: a whole set of token shards with a manifest of
its own, so that it is verified there like any other. It holds links to the shards; nothing is copied here.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aura.core import checksums, files, paths
from aura.tokenizer import opening
from aura.tokens import token_shards
from aura.tokens.token_shards import TokenShards
from aura.tpu.pod_stages import PRETRAIN
from aura.tpu.settings import Settings, require_file

LAST = "manifest.json"  # it names the other files of its folder


def identifying(settings: Settings) -> list[Path]:
    """Return the files whose hashes tell all that the stage reads.

    Raises:
        UserError: one of them is missing; the message names the command that makes it.
    """
    wanted = {settings.tokens / LAST: "dvc repro encode"}
    wanted |= dict.fromkeys(settings.tokenizer_files.values(), "dvc repro train_tokenizer")
    wanted |= {folder / checksums.NAME: made_by for folder, made_by in settings.stage.reads.items()}
    wanted |= dict.fromkeys(base_files(settings).values(), "the program that saved the model")
    wanted |= dict.fromkeys(evaluation_files(settings).values(), "the program that made the set")
    for path, made_by in wanted.items():
        require_file(path, made_by)
    return list(wanted)


def base_files(settings: Settings) -> dict[Path, Path]:
    """Return the files that decide existing weights of a run (`pretrain.from`), by their places there.

    Workers fetch a base on the Hub themselves.
    """
    where = settings.values.pretrain.base
    if where is None or settings.stage is not PRETRAIN:
        return {}
    from aura.hugging_face.base import local_files  # JAX, which no other part of a launch needs

    return {paths.BASE / file.name: file for file in local_files(where)}


def evaluation_files(settings: Settings) -> dict[Path, Path]:
    """Return the files of the evaluation sets of a run (`pretrain.evaluate`), by their places there.

    Raises:
        UserError: a set has no files.
    """
    if settings.stage is not PRETRAIN:
        return {}
    from aura.evaluation import items  # JAX, which no other part of a launch needs

    found: dict[Path, Path] = {}
    for name, path in settings.values.pretrain.evaluate.items():
        place = evaluation_place(name, path)
        for file in items.files_of(f"pretrain.evaluate.{name}", Path(path)):
            found[place / file.relative_to(path) if Path(path).is_dir() else place] = file
    return found


def evaluation_place(name: str, path: str) -> Path:
    """The place of an evaluation set there: a folder, or a file with its suffix."""
    return paths.EVALUATION / (name if Path(path).is_dir() else f"{name}{Path(path).suffix}")


@contextmanager
def folders(settings: Settings) -> Iterator[dict[Path, Path]]:
    """Yield the folders that the stage reads: place in the project's copy, and folder here."""
    own = {folder: folder for folder in settings.stage.reads}
    if not settings.stage.held_out_only:
        yield {paths.TOKENS: settings.tokens} | own
        return
    with tempfile.TemporaryDirectory() as scratch:
        held_out(settings.tokens, settings.tokenizer, Path(scratch))
        yield {paths.TOKENS: Path(scratch)} | own


def files_in(place: Path, folder: Path) -> dict[Path, Path]:
    """Return the files of a folder here by their places there; the one that names the others comes last."""
    found = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: (path.name == LAST, path))
    return {place / path.relative_to(folder): path for path in found}


def held_out(tokens: Path, tokenizer_file: Path, folder: Path) -> None:
    """Make a set of token shards of the held-out part of `tokens`, with links to its files.

    Arguments:
        tokens: the whole set.
        tokenizer_file: the one that made it.
        folder: the place of the new set, an empty folder.

    Raises:
        UserError: the tokens are incomplete, altered or another tokenizer's.
    """

    encoding = opening.load(tokenizer_file).encoding_sha256
    shards = TokenShards(tokens, encoding)
    part = folder / "held_out"
    part.mkdir()
    for path in tokens.glob("held_out/*"):
        (part / path.name).symlink_to(path.resolve())
    layout = files.read_object(tokens / LAST, token_shards.MADE_BY, layout={})["layout"]
    entries = [entry for entry in shards.entries if entry.split == "held_out"]
    token_shards.write_manifest(folder, encoding, shards.vocab_size, layout, entries)

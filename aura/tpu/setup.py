"""Things that a worker needs before it can run: the project, its environment, the tokenizer, and what the stage reads.

No credential is copied: workers reach a bucket by the service account of their VM. Archives are the same
bytes for the same files, so their hashes say what a worker has.
"""

import io
import tarfile
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from aura.core import console, files, hub_address, paths
from aura.core.errors import UserError
from aura.project import whole_params
from aura.tpu import pod_inputs
from aura.tpu.pod import Pod
from aura.tpu.pod_stages import STAGES
from aura.tpu.settings import Settings, require_file

REQUIREMENTS = ["requirements.txt", "requirements-tpu.txt"]
CODE = ["aura"]
ARCHIVE = "aura_archive.tar"
PATIENCE = 450  # pauses of gcloud's for which a worker's package manager may be busy: 15 minutes


def setup(pod: Pod, settings: Settings) -> None:
    """Bring project, environment and tokenizer to every worker; again and again costs little."""
    for file in settings.tokenizer_files.values():
        require_file(file, made_by="dvc repro train_tokenizer")
    if absent := [name for name in (*CODE, *REQUIREMENTS) if not Path(name).exists()]:
        raise UserError(
            f"a pod gets code and lock of a clone of aura, and {absent[0]} is not here. Run this in a clone, or train "
            f"on this machine: {settings.stage.name}.where: local"
        )
    pod.prepare()
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch, ARCHIVE)
        write_archive(archive, project_files(settings.values))
        send_archive(pod, archive, replace=CODE)
    console.err.print(f"installing the locked packages on {pod.accelerator.hosts} workers", markup=False)
    install(pod)
    send_inputs(pod, settings.tokenizer_files)


def install(pod: Pod) -> None:
    """Install the locked packages on every worker, waiting for a package manager that is still busy after the boot.

    Raises:
        UserError: it is busy for longer than PATIENCE, or the installation fails.
    """
    began, told = time.monotonic(), ""
    for _ in pod.pauses():
        obstacles = [reply.get("obstacle") for reply in pod.ask("install", requirements=REQUIREMENTS)]
        blocked = [number for number, obstacle in enumerate(obstacles) if obstacle]
        if not blocked:
            return
        said = f"{len(blocked)} workers cannot install yet; worker {blocked[0]} says: {obstacles[blocked[0]]}"
        if time.monotonic() - began > PATIENCE * pod.gcloud.pause:
            raise UserError(
                f"{said}\nThis has not changed for {time.monotonic() - began:.0f} s. Run the same command again later; "
                "or look there: gcloud compute tpus tpu-vm ssh"
            )
        if said != told:
            told = said
            console.err.print(f"{said}; waiting for it", markup=False)


def send_what_is_read(pod: Pod, settings: Settings) -> None:
    """Bring the folders that the stage reads to every worker, whole, unless each has the same bytes.

    Another set of files may lie there since an earlier run, and a file too many is a mistake to a reader.
    """
    with pod_inputs.folders(settings) as folders:
        found: dict[Path, Path] = {}
        for place, folder in folders.items():
            found |= pod_inputs.files_in(place, folder)
        base, sets = pod_inputs.base_files(settings), pod_inputs.evaluation_files(settings)
        replaced = [str(place) for place in folders] + ([str(paths.BASE)] if base else [])
        replaced += [str(paths.EVALUATION)] if sets else []
        send_inputs(pod, found | base | sets, replace=replaced)


def send_inputs(pod: Pod, inputs: dict[Path, Path], replace: Sequence[str] = ()) -> None:
    """Bring files (place in the project's copy: file here) to every worker, unless each has the same bytes.

    Files are sent in place of the folders `replace`.
    """
    wanted = {str(place): files.sha256_file(file) for place, file in inputs.items()}
    if all(reply == wanted for reply in pod.ask("hashes", paths=list(wanted))):
        return
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch, ARCHIVE)
        write_archive(archive, ((str(place), file) for place, file in inputs.items()))
        console.err.print(f"copying {console.size(archive.stat().st_size)} to every worker", markup=False)
        send_archive(pod, archive, replace=list(replace))
    verify(pod, inputs)


def verify(pod: Pod, inputs: dict[Path, Path]) -> None:
    """Stop unless every worker has these files with the same SHA-256 as here."""
    wanted = {str(place): files.sha256_file(file) for place, file in inputs.items()}
    for number, reply in enumerate(pod.ask("hashes", paths=list(wanted))):
        for place, sha256 in wanted.items():
            if reply.get(place) != sha256:
                raise UserError(
                    f"worker {number} of {pod}: expected {place} with SHA-256 {sha256}, got {reply.get(place)}. "
                    "Run: aura tpu setup"
                )


def project_files(values: whole_params.Params) -> Iterable[tuple[str, bytes]]:
    """Name and content of what a worker needs of the project: code, locks, and params.yaml as this run wants it."""
    code = (path for folder in CODE for path in Path(folder).rglob("*") if path.is_file())
    locks = [Path(name) for name in (*REQUIREMENTS, "versions.json", "pyproject.toml")]
    for path in sorted([*(path for path in code if path.suffix != ".pyc"), *locks]):
        yield path.as_posix(), path.read_bytes()
    here: dict[str, Any] = {f"{name}.where": "local" for name in STAGES}  # to a worker, that is the pod
    base = values.pretrain.base
    if base is not None and not hub_address.is_address(base):
        here["pretrain.from"] = str(paths.BASE)  # where `send_what_is_read` puts it
    sets = values.pretrain.evaluate
    here["pretrain.evaluate"] = {name: str(pod_inputs.evaluation_place(name, path)) for name, path in sets.items()}
    there = whole_params.changed(values, here).model_dump(mode="json", by_alias=True)
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(there, text)
    yield "params.yaml", text.getvalue().encode()


def write_archive(path: Path, contents: Iterable[tuple[str, bytes | Path]]) -> None:
    """A tar of files by name: the same bytes whenever, wherever and by whomever it is made.

    Of a content that is the path of a file, some kB are in memory at a time.
    """
    with tarfile.open(path, "w") as tar:
        for name, content in contents:
            member = tarfile.TarInfo(name)
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
                member.size = file.seek(0, io.SEEK_END)
                file.seek(0)
                tar.addfile(member, file)


def send_archive(pod: Pod, archive: Path, replace: list[str]) -> None:
    """Unpack a tar in the project's copy of every worker, in place of the folders `replace`."""
    pod.send(archive, ARCHIVE)
    pod.ask("unpack", archive=ARCHIVE, replace=replace)

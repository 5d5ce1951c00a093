"""Sources that neither git nor DVC tracks: a colleague, and an experiment in a folder of its own, do not get them."""

from collections.abc import Mapping
from pathlib import Path

from aura.conversations.options import ConversationSource
from aura.core.errors import UserError
from aura.project import whole_params
from aura.sharing.git import GitFailed, git
from aura.sources import pins
from aura.sources.options import Source


def untracked(sources: Mapping[str, Source | ConversationSource]) -> dict[str, str]:
    """The paths, by the names of their sources, that lie in the project untracked. A pin stands for itself."""
    return {
        name: source.path
        for name, source in sources.items()
        if source.kind not in ("dataset", "sample")
        and not pins.is_pin(Path(source.path))
        and is_inside(source.path)
        and not is_tracked(source.path)
    }


def notes() -> list[str]:
    """Return a note on each untracked source; none where params.yaml cannot be read, of which others tell."""
    try:
        found = whole_params.load()
    except UserError:
        return []
    listed = [*untracked(found.extract.sources).values(), *untracked(found.conversations.sources).values()]
    return [note(path) for path in listed]


def note(path: str) -> str:
    """Say what an untracked path means, and how to track it, or how to do without."""
    return (
        f"{path} is in neither git nor DVC, so nobody else gets it, and neither does dvc exp run --queue or --temp. "
        f"Track it: dvc add {path}; or add the source with --pin, which reads the folder where it is"
    )


def is_inside(path: str) -> bool:
    """Return whether a path lies in the project; DVC refuses to track any other."""
    place = Path.cwd() / path
    return place.is_relative_to(Path.cwd()) and ".." not in place.parts


def is_tracked(path: str) -> bool:
    """Return whether DVC tracks a path or a folder that it lies in, or git a file of it."""
    place = Path(path)
    above = [each for each in (place, *place.parents) if each.name]
    if any(each.with_name(f"{each.name}.dvc").is_file() for each in above):
        return True
    try:
        return bool(git("--literal-pathspecs", "ls-files", "-z", "--", path))
    except GitFailed:  # no repository of git
        return False


def track(path: str) -> str:
    """Have DVC track a path, and git the file that stands for it; returns the name of that file."""
    from aura.sharing.remote import open_repo  # DVC takes a second to import

    if not is_inside(path):
        raise UserError(f"--track: DVC tracks only what lies in the project, and {path} does not. Leave --track out")
    with open_repo() as repo:
        repo.add(path)
    record = f"{path}.dvc"
    git("add", "--", record)
    return record

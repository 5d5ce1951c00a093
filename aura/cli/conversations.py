"""`aura conversations`: what a model is adapted on."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from aura.cli import places
from aura.cli.groups import Commands
from aura.core import console, paths
from aura.core.errors import UserError
from aura.core.shown_text import on_one_line
from aura.core.terms import SPLITS
from aura.project import conversation_sources, tracking, whole_params
from aura.project.sources import NewSource, Reading, Rows
from aura.tokens.conversation_shards import MANIFEST

app = typer.Typer(
    cls=Commands, no_args_is_help=True, help="The sources of conversations: conversations.sources in params.yaml."
)

Name = Annotated[str, typer.Argument(help="Name of the source: lower-case letters, digits, - and _.")]
Where = Annotated[
    str,
    typer.Argument(
        parser=places.path_or_name,
        metavar="PATH",
        help="Folder with .jsonl, .json or .parquet files, or one file; gs://BUCKET/PREFIX or another fsspec URL; "
        "data/conversations.pin.json; or a dataset: OWNER/NAME on the Hub, or a folder.",
    ),
]
Kind = Annotated[str | None, typer.Option(help="json, parquet or docstrings, told by the files; or dataset.")]
Glob = Annotated[str | None, typer.Option(help='Read the files that match, such as "**/*.jsonl".')]
Encoding = Annotated[str | None, typer.Option(help="Encoding of JSON files that are not UTF-8: cp1252, gb18030, …")]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="Read links to files outside of the folder, too.")]
Pinned = Annotated[bool, typer.Option(help="Track a list of file hashes, not the folder: for thousands of files.")]
Track = Annotated[bool, typer.Option("--track", help="Have DVC track the folder, for experiments and colleagues.")]
Config = Annotated[str | None, typer.Option(help="Of a dataset: its configuration.")]
Split = Annotated[str | None, typer.Option(help="Of a dataset: the split to read; train when left out.")]
Revision = Annotated[str | None, typer.Option(help="Of a dataset: commit, tag or branch; the newest when left out.")]
MaxDocuments = Annotated[int | None, typer.Option(min=1, help="Of a dataset: at most so many rows.")]
Number = Annotated[int, typer.Option("--number", "-n", min=1, max=1000, help="Conversations to show.")]


@app.command("add")
def add_source(
    name: Name,
    path: Where,
    kind: Kind = None,
    glob: Glob = None,
    encoding: Encoding = None,
    follow_links: FollowLinks = False,
    pin: Pinned = False,
    track: Track = False,
    config: Config = None,
    split: Split = None,
    revision: Revision = None,
    max_documents: MaxDocuments = None,
) -> None:
    """Add a file or a folder of conversations, what lies behind a URL, or a Hugging Face dataset."""
    if track and pin:
        raise UserError("--track and --pin do not go together: a pin is tracked instead of the folder. Leave one out")
    reading = Reading(glob=glob, encoding=encoding, links="anywhere" if follow_links else "inside")
    rows = Rows(config=config, split=split, revision=revision, max_documents=max_documents)
    found = conversation_sources.add(NewSource(name, path, kind, reading, rows, pin=pin))
    console.out.print(f"added {name}: {found}. Run: dvc repro", markup=False)
    entered = whole_params.load().conversations.sources[name]
    if tracking.untracked({name: entered}):
        if track:
            console.out.print(f"tracked: {tracking.track(entered.path)} is added to git. Commit it", markup=False)
        else:
            note = tracking.note(entered.path).replace("add the source", "add the source of conversations")
            console.out.print(f"note: {note}", markup=False, soft_wrap=True)


@app.command("list")
def list_sources() -> None:
    """List the sources, with the number of conversations that were made of each."""
    made = _made()
    table = Table("name", "kind", "path", "train", "held out", "lost")
    for name, source in whole_params.load().conversations.sources.items():
        counts = made.get(name)
        cells = [f"{counts['conversations'][split]:,}" for split in SPLITS] if counts else ["not yet", ""]
        lost = f"{sum(loss['count'] for loss in counts['lost'].values()):,}" if counts else ""
        table.add_row(name, source.kind, Text(source.path), *cells, lost)
    console.out.print(table)


def _made() -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    """The counts of each source, as the manifest of the set has them; empty without a set."""
    from aura.core.files import read_object

    path = paths.CONVERSATIONS / MANIFEST
    counts = {"conversations": dict.fromkeys(SPLITS, int), "lost": {str: {"count": int}}}
    return dict(read_object(path, "dvc repro conversations", sources={str: counts})["sources"]) if path.exists() else {}


@app.command("remove")
def remove_source(name: Name) -> None:
    """Take a source out; its files stay where they are."""
    conversation_sources.remove(name)
    console.out.print(f"removed {name}. Run: dvc repro", markup=False)


@app.command("scan")
def scan_source(name: Name) -> None:
    """Take the changed files or objects of a pinned source in, or a dataset's newest revision."""
    found = conversation_sources.scan(name)
    console.out.print(f"the pin of {name} now describes {found}. Run: dvc repro", markup=False)


@app.command("show")
def show_source(name: Name, number: Number = 3) -> None:
    """Show the first conversations of a source as they are read, and what was lost before them."""
    shown = conversation_sources.show(name, number)
    for conversation in shown.conversations:
        console.out.print(f"── {on_one_line(conversation.name)}", markup=False)
        for message in conversation.messages:
            lines = "\n    ".join(map(on_one_line, message.content.split("\n")))
            console.out.print(f"{message.role}: {lines}", markup=False, soft_wrap=True)
    shapes = ", ".join(f"{count:,} {shape}" for shape, count in shown.account.shapes.items()) or "no conversation"
    lost = "; ".join(
        f"{count:,} {reason}, first at {shown.account.first[reason]}" for reason, count in shown.account.lost.items()
    )
    console.out.print(f"read: {shapes}; lost: {lost or 'nothing'}", markup=False, soft_wrap=True)

"""`aura source`: what the corpus is read from."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from aura.cli import places
from aura.cli.groups import Commands
from aura.core import console, paths
from aura.core.errors import UserError
from aura.core.files import folder_size
from aura.project import source_entries, sources, tracking, whole_params
from aura.project.sources import NewSource, Reading, Rows
from aura.sources import pins

app = typer.Typer(cls=Commands, no_args_is_help=True, help="The sources of the corpus: extract.sources in params.yaml.")

Name = Annotated[str, typer.Argument(help="Name of the source: lower-case letters, digits, - and _.")]


Where = Annotated[
    str,
    typer.Argument(
        parser=places.path_or_name,
        metavar="PATH",
        help="Folder with the files, or one file; gs://BUCKET/PREFIX or another fsspec URL; data/sample.pin.json; "
        "or a dataset: OWNER/NAME on the Hub, or a folder.",
    ),
]
Kind = Annotated[
    str | None, typer.Option(help="txt, json, parquet or sample, told by the files when left out; or dataset.")
]
DocumentsAre = Annotated[
    str | None, typer.Option(help="In .txt files, a document is a: file (default), blank_line or line.")
]
TextKeys = Annotated[
    list[str] | None, typer.Option(help="In JSON and Parquet, the key that holds the text; dotted, may be repeated.")
]
Nested = Annotated[bool, typer.Option(help="In JSON, read records inside a record that has a text, too.")]
Glob = Annotated[
    str | None, typer.Option(help='Read the files that match, such as "**/*.rst"; by default those of the kind.')
]
Encoding = Annotated[
    str | None, typer.Option(help="Encoding of .txt and JSON files that are not UTF-8: cp1252, gb18030, shift_jis, …")
]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="Read links to files outside of the folder, too.")]
Pinned = Annotated[bool, typer.Option(help="Track a list of file hashes, not the folder: for thousands of files.")]
Track = Annotated[bool, typer.Option("--track", help="Have DVC track the folder, for experiments and colleagues.")]
Config = Annotated[str | None, typer.Option(help="Of a dataset: its configuration.")]
Split = Annotated[str | None, typer.Option(help="Of a dataset: the split to read; train when left out.")]
Revision = Annotated[str | None, typer.Option(help="Of a dataset: commit, tag or branch; the newest when left out.")]
MaxDocuments = Annotated[int | None, typer.Option(min=1, help="Of a dataset: at most so many rows.")]
Only = Annotated[bool, typer.Option(help="Take every other source out.")]


@app.command("add")
def add_source(
    name: Name,
    path: Where,
    kind: Kind = None,
    documents: DocumentsAre = None,
    text_key: TextKeys = None,
    nested: Nested = False,
    glob: Glob = None,
    encoding: Encoding = None,
    follow_links: FollowLinks = False,
    pin: Pinned = False,
    track: Track = False,
    config: Config = None,
    split: Split = None,
    revision: Revision = None,
    max_documents: MaxDocuments = None,
    only: Only = False,
) -> None:
    """Add a folder, what lies behind a URL, or a Hugging Face dataset, to the corpus.

    A bucket, and the Parquet files of a dataset, are read where they are.
    """
    if track and pin:
        raise UserError("--track and --pin do not go together: a pin is tracked instead of the folder. Leave one out")
    reading = Reading(
        glob=glob,
        documents=documents,
        text_keys=text_key or [],
        nested=nested,
        encoding=encoding,
        links="anywhere" if follow_links else "inside",
    )
    rows = Rows(config=config, split=split, revision=revision, max_documents=max_documents)
    found, taken_out = sources.add(NewSource(name, path, kind, reading, rows, pin=pin, only=only))
    removed = f", removed {', '.join(taken_out)}" if taken_out else ""
    console.out.print(f"added {name}: {found}{removed}. Run: dvc repro", markup=False)
    entered = whole_params.load().extract.sources[name]
    if tracking.untracked({name: entered}):
        if track:
            console.out.print(f"tracked: {tracking.track(entered.path)} is added to git. Commit it", markup=False)
        else:
            console.out.print(f"note: {tracking.note(entered.path)}", markup=False, soft_wrap=True)
    elif track:
        console.out.print(f"{entered.path} needs no tracking: git or DVC has it, or what it stands for", markup=False)
    if "sample" in taken_out:
        console.out.print("the sample comes back with: aura source add sample data/sample.pin.json", markup=False)


@app.command("list")
def list_sources() -> None:
    """List the sources, with the size of what is extracted of each."""
    table = Table("name", "kind", "path", "extracted")
    for name, source in whole_params.load().extract.sources.items():
        folder = source_entries.extracted(name)
        size = console.size(folder_size(folder)) if folder.exists() else "not yet"
        table.add_row(name, source.kind, Text(source.path), size)
    console.out.print(table)


@app.command("remove")
def remove_source(name: Name) -> None:
    """Take a source out of the corpus; its files stay where they are."""
    sources.remove(name)
    console.out.print(f"removed {name}. Run: dvc repro", markup=False)


@app.command("scan")
def scan_source(name: Name) -> None:
    """Take the changed files or objects of a pinned source in, or a dataset's newest revision."""
    found = sources.scan(name)
    pin = paths.DATA / (name + pins.SUFFIX)
    console.out.print(f"{pin} now describes {found}. Run: dvc repro", markup=False)

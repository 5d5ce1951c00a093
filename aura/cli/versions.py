"""`aura publish`, `aura versions`, `aura fetch`: released tokenizers."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from aura.core import console

Repo = Annotated[str, typer.Option(help="Address or folder of the project's git repository.")]


def publish(
    version: Annotated[str, typer.Argument(help="Such as v1.2.0, or v1.2.0-rc.1.")],
    made_by_hand: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with a tokenizer of the one-shot program, instead of models/spm."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="What the licences of its texts allow, for the model card.")
    ] = None,
) -> None:
    """Release a validated tokenizer: push it, check what the bucket holds, then tag it (and push the tag to origin)."""
    from aura.sharing import git, publish  # DVC and gcsfs take 2 s to import

    tag, is_new = publish.publish(version, made_by_hand, licence)
    console.out.print(f"{tag} {'is published' if is_new else 'was published before, and is whole'}", markup=False)
    if not git.has_remote():
        console.out.print(f"to share it: git push REMOTE {tag}", markup=False)
    console.out.print(f"its model card: git show --no-patch {tag}", markup=False)


def versions(repo: Repo = ".") -> None:
    """List the released tokenizers with their measures on held-out text."""
    from aura.sharing import versions

    table = Table("version", "pieces", "type", "bytes per token", "unused share", "sha256")
    for entry in versions.listed(repo):
        metrics, params = entry.card.get("metrics", {}), entry.card.get("params", {})
        cells = [metrics.get("vocab_size"), params.get("model_type"), metrics.get("bytes_per_token")]
        cells += [metrics.get("unused_share"), entry.card.get("sha256", {}).get("spiece.model", "")[:12]]
        name = f"{entry.version} (deprecated)" if entry.deprecated else entry.version
        table.add_row(name, *("-" if cell in (None, "") else str(cell) for cell in cells))
    console.out.print(table)


def fetch(
    version: Annotated[str, typer.Argument(help="Such as tokenizer@v1.2.0 or v1.2.0.")],
    repo: Repo = ".",
    output: Annotated[Path | None, typer.Option(help="Folder to write; models/tokenizer-v1.2.0 when left out.")] = None,
) -> None:
    """Get a released tokenizer, verified, from anywhere: a clone is not needed."""
    from aura.core import files
    from aura.sharing import versions

    folder = versions.fetch(version, repo, output)
    for path in sorted(folder.iterdir()):
        console.out.print(f"{files.sha256_file(path)}  {path}", markup=False)

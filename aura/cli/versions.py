"""`aura publish`, `aura versions`, `aura fetch`: released tokenizers and models."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from aura.cli import places
from aura.core import console

Columns = dict[str, tuple[str, ...]]
_BASE: Columns = {"base": ("base", "language_model", "version")}
_PRETRAINED: Columns = {"parameters": ("metrics", "parameters"), "bits per byte": ("metrics", "bits_per_byte")}
_ADAPTED: Columns = {
    "response loss": ("metrics", "response_loss"),
    "forgetting": ("metrics", "forgetting"),
    "bits per byte": ("metrics", "bits_per_byte"),
}
_WEIGHTS: Columns = {"sha256": ("sha256", "model.safetensors")}
# Of `aura versions`, by artifact, and where each value is in a model card; the hash is the last.
COLUMNS: dict[str, Columns] = {
    "tokenizer": {
        "pieces": ("metrics", "vocab_size"),
        "type": ("params", "model_type"),
        "bytes per token": ("metrics", "bytes_per_token"),
        "unused share": ("metrics", "unused_share"),
        "sha256": ("sha256", "spiece.model"),
    },
    "language_model": {"tokenizer": ("base", "tokenizer", "version")} | _PRETRAINED | _WEIGHTS,
    "hugging_face_model": _BASE | _PRETRAINED | _WEIGHTS,
    "adapter": _BASE | _ADAPTED | {"sha256": ("sha256", "adapter_model.safetensors")},
    "chat": _BASE | _ADAPTED | _WEIGHTS,
}
Repo = Annotated[
    str | None,
    typer.Option(
        parser=places.path_or_name,
        metavar="REPO",
        help="Address or folder of the project's git repository; this project's when left out.",
    ),
]


def publish(
    version: Annotated[
        str, typer.Argument(help="Such as v1.2.0 or v1.2.0-rc.1; of a model, such as chat@v1.2.0 or adapter@v1.2.0.")
    ],
    made_by_hand: Annotated[
        Path | None,
        typer.Option(
            "--from",
            parser=places.path,
            metavar="PATH",
            help="Folder with a tokenizer of the one-shot program, instead of models/spm.",
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Uses that the licences of its texts allow, for the model card.")
    ] = None,
) -> None:
    """Release a judged tokenizer or model: push it, check what the bucket holds, then tag it (and push the tag)."""
    from aura.sharing import git, publish  # DVC and gcsfs take 2 s to import

    tag, is_new = publish.publish(version, made_by_hand, licence)
    console.out.print(f"{tag} {'is published' if is_new else 'was published before, and is whole'}", markup=False)
    if not git.has_remote():
        console.out.print(f"to share it: git push REMOTE {tag}", markup=False)
    console.out.print(f"its model card: git show --no-patch {tag}", markup=False)


def versions(
    artifact: Annotated[str, typer.Argument(help=f"{', '.join([*COLUMNS][:-1])} or {[*COLUMNS][-1]}.")] = "tokenizer",
    repo: Repo = None,
) -> None:
    """List the released tokenizers, or models of a kind, with their measures on held-out text."""
    from aura.core.errors import UserError
    from aura.sharing import model_card, versions

    if artifact not in COLUMNS:
        raise UserError(f"expected one of {', '.join(COLUMNS)}, got {artifact}")
    columns = COLUMNS[artifact]
    table = Table("version", *columns)
    for entry in versions.listed(versions.repository(repo), artifact):
        cells = [model_card.value(entry.card, *keys) for keys in columns.values()]
        name = f"{entry.version} (deprecated)" if entry.deprecated else entry.version
        table.add_row(name, *cells[:-1], cells[-1][:12])
    console.out.print(table)


def fetch(
    version: Annotated[str, typer.Argument(help="Such as v1.2.0, tokenizer@v1.2.0 or chat@v1.2.0.")],
    repo: Repo = None,
    output: Annotated[
        Path | None,
        typer.Option(
            parser=places.path, metavar="PATH", help="Folder to write; such as models/tokenizer-v1.2.0 when left out."
        ),
    ] = None,
    max_gb: Annotated[float, typer.Option(help="Take at most so many GB.", min=0.001)] = 4.0,
) -> None:
    """Get a released tokenizer or model, verified, from anywhere: a clone is not needed."""
    from aura.core import files
    from aura.sharing import versions

    folder = versions.fetch(version, versions.repository(repo), output, int(max_gb * 1e9))
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        console.out.print(f"{files.sha256_file(path)}  {path}", markup=False)

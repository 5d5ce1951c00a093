"""Changes of a finished tokenizer that need no training: `aura tokenizer name-token` and `aura export-tokenizer`.

`aura name-special` is the older name of the first.
"""

from pathlib import Path
from typing import Annotated

import typer

from aura.cli import places
from aura.core import console, paths
from aura.core.errors import UserError


def name_special(
    names: Annotated[list[str], typer.Argument(help='Special tokens, such as "<|im_start|>" "<|im_end|>".')],
    made_by_hand: Annotated[
        Path | None,
        typer.Option(
            "--from",
            parser=places.path,
            metavar="PATH",
            help="Folder with a tokenizer beside the pipeline, instead of models/spm.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(parser=places.path, metavar="PATH", help="With --from: the folder to write.")
    ] = None,
) -> None:
    """Give names to reserved slots, in order. No id changes: tokens and models made with the tokenizer stay valid."""
    from aura.project import naming  # DVC takes 1 s to import

    if (made_by_hand is None) != (output is None):
        raise UserError("expected --from FOLDER and --output FOLDER together; without both, models/spm gets the names")
    if made_by_hand is not None and output is not None:
        named = naming.in_folder(made_by_hand, output, names)
    else:
        named = naming.in_pipeline(names)
    for name, token in named.ids.items():
        console.out.print(f"{token:>7,}  {name}", markup=False)
    for found in named.proof:
        console.out.print(found, markup=False, highlight=False)
    if output is not None:
        console.out.print(f"written: {output}", markup=False)
    elif named.ids:
        console.out.print("params.yaml, models/spm and dvc.lock have the names. Next: dvc repro", markup=False)
    else:
        console.out.print("params.yaml has the names. Next, to make the tokenizer with them: dvc repro", markup=False)


def export_tokenizer(
    folder: Annotated[
        Path,
        typer.Argument(
            parser=places.path, metavar="PATH", help="With a spiece.model; models/spm is recorded in dvc.lock, too."
        ),
    ] = paths.TOKENIZER,
) -> None:
    """Write tokenizer.json, and what else other programs read, again from spiece.model. Nothing is trained."""
    from aura.project import naming  # DVC takes 1 s to import

    names, is_recorded = naming.export_again(folder)
    console.out.print(f"written in {folder}: {', '.join(names)}", markup=False)
    if is_recorded:
        console.out.print("dvc.lock has them. Next: dvc repro", markup=False)

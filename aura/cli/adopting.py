"""`aura tokenizer adopt` and `aura tokenizer leave`: someone's tokenizer in the place of training, and back."""

from typing import Annotated

import typer

from aura.core import console


def adopt(
    base: Annotated[
        str,
        typer.Argument(
            metavar="TOKENIZER",
            help="PATH of a file or folder, VERSION such as v1.2.0, or hf://ORG/NAME@REVISION.",
        ),
    ],
) -> None:
    """Write a tokenizer into train_tokenizer.from, and a path into dvc.yaml, so that DVC watches it."""
    from aura.project import adopting  # DVC takes 1 s to import

    adopting.enter(base)
    console.out.print(f"params.yaml has train_tokenizer.from: {base}. Next: dvc repro", markup=False)


def leave() -> None:
    """Train the project's own tokenizer again: train_tokenizer.from becomes null."""
    from aura.project import adopting

    adopting.leave()
    console.out.print("params.yaml has train_tokenizer.from: null. Next: dvc repro", markup=False)

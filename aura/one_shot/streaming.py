"""A Hugging Face dataset → a folder of .jsonl shards: `python aura/data/hf_stream.py --dataset … --output …`.

The guide's program, outside the pipeline: what it writes is read by a source of kind json and by `--json_dirs`. The
pipeline's own way, which also keeps the revision under DVC, is `aura source add NAME DATASET --kind dataset`; both
share `aura/sources/materialise.py`. Of each row only the text is kept.
"""

from pathlib import Path
from typing import Annotated

import typer

from aura.core import console
from aura.core.errors import UserError
from aura.sources import hub
from aura.sources.hub import DatasetPin
from aura.sources.materialise import RECORD, Materialised, is_complete, write_shards
from aura.sources.options import TEXT_KEYS

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def hf_stream(
    dataset: Annotated[str, typer.Option("--dataset", help="Name on the Hub (OWNER/NAME), or a local folder.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the .jsonl shards; it must be new.")],
    config: Annotated[str | None, typer.Option("--config", help="The dataset's configuration, such as en.")] = None,
    split: Annotated[str, typer.Option("--split", help="The split to read.")] = "train",
    max_samples: Annotated[
        int | None, typer.Option("--max_samples", min=1, help="At most so many rows, from the first on.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Commit, tag or branch; the newest when left out.")
    ] = None,
    text_key: Annotated[
        list[str] | None, typer.Option("--text_key", help="Column with the text; dotted, may be repeated.")
    ] = None,
) -> None:
    """Write the text of a Hugging Face dataset as .jsonl files; run it again to go on after an interruption."""
    pin = DatasetPin(
        dataset=dataset,
        config=config,
        split=split,
        revision=hub.resolve(dataset, revision),
        max_documents=max_samples,
    )
    made = stream(pin, text_key or list(TEXT_KEYS), output)
    if made is None:
        console.out.print(f"{output} holds {pin.title} already; nothing to do", markup=False)
        return
    added = f" ({made.added:,} of them now)" if made.added < made.rows else ""
    console.out.print(
        f"{output}: {made.rows:,} documents{added}, {console.size(made.bytes)}, of revision {pin.revision}. "
        f"Train on it with: python stages/train_tokenizer.py --json_dirs {output}",
        markup=False,
    )


def stream(pin: DatasetPin, text_keys: list[str], output: Path) -> Materialised | None:
    """Write a dataset's text into `output`; `None` if it is there already.

    Raises `UserError` if `output` holds anything else: nothing of the user's is replaced.
    """
    if is_complete(output, pin, text_keys):
        return None
    if output.is_dir() and not any(output.iterdir()):
        output.rmdir()
    if output.exists():
        got = "another dataset, revision or number of rows" if (output / RECORD).exists() else "other files"
        raise UserError(f"expected a new folder as --output, {output} holds {got}. Name another, or remove it.")
    return write_shards(pin, text_keys, output)


def main() -> None:
    """Run the command line."""
    console.run(lambda: app(prog_name="python aura/data/hf_stream.py"))


if __name__ == "__main__":
    main()

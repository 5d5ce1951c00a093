"""`aura gguf`: a model as one file for llama.cpp."""

from pathlib import Path
from typing import Annotated

import typer

from aura.cli import places
from aura.core import console, paths


def gguf(
    output: Annotated[
        Path, typer.Argument(parser=places.path, metavar="PATH", help="The file to write, such as model.gguf.")
    ],
    model: Annotated[
        Path,
        typer.Option(parser=places.path, metavar="PATH", help="Folder of the model: models/chat or models/hf."),
    ] = paths.CHAT_MODEL,
) -> None:
    """Write a model as a GGUF file, which llama.cpp runs. Its tokenizer must be a SentencePiece BPE model.

    Weights stay float32. llama.cpp's llama-quantize makes smaller files of it.
    """
    from aura.export import gguf_file  # NumPy and JAX take seconds to import

    written = gguf_file.convert(model, output)
    for sentence in written.differences:
        console.out.print(f"note: {sentence}", markup=False)
    console.out.print(f"written: {output} ({console.size(output.stat().st_size)})", markup=False)

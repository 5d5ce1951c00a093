"""`aura report`: the whole pipeline on one page."""

from typing import Annotated

import typer

from aura.core import console


def report(
    since: Annotated[
        str | None, typer.Option(help="Commit, branch or tag that the page compares with; HEAD when left out.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
) -> None:
    """Write reports/index.html: corpus, tokenizer, model, provenance and changes, on one page without a network."""
    from aura.report import page  # PyArrow and SentencePiece take 0.4 s to import

    made = page.write(since)
    console.out.print(str(made), markup=False)
    if show:
        import webbrowser

        if not webbrowser.open(made.absolute().as_uri()):
            console.err.print(f"note: found no browser. Open {made} with one", markup=False)

"""`aura plots`: the plots of DVC without a network."""

from aura.core import console
from aura.project import plots_page


def plots() -> None:
    """Let `dvc plots show` and `dvc plots diff` of this clone draw without a network. `make setup` runs it."""
    found = plots_page.install()
    if found is None:
        console.err.print(
            "note: dvc plots loads its scripts from a CDN, because vl-convert-python is not installed. For plots "
            "without a network: pip install vl-convert-python, then aura plots",
            markup=False,
        )
        return
    console.out.print(f"dvc plots show uses {found}, and needs no network", markup=False)

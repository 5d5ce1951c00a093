"""`aura doctor`: the guide's checklists."""

from pathlib import Path
from typing import Annotated

import typer

from aura.core import params
from aura.one_shot import checklist
from aura.project import source_entries

SPM, PASSED = Path("models/spm"), Path("reports/validate/passed.json")


def doctor(
    remote: Annotated[bool, typer.Option(help="Ask the DVC remote, too, over the network.")] = False,
) -> None:
    """Check what the guide asks for before and after training the tokenizer; ends with 1 if all is not well."""
    everything = params.load()
    extracted = [source_entries.extracted(name) for name in everything.extract.sources]
    first = checklist.before(extracted, SPM, everything.train_tokenizer)
    then = checklist.after(SPM, checklist.passed_gates(SPM, PASSED)) + checklist.versioned(SPM)
    then += checklist.recorded()
    then += [checklist.in_remote(SPM)] if remote else []
    checklist.show("before training", first)
    checklist.show("after training", then)
    if not all(check.holds or check.only_advice for check in first + then):
        raise typer.Exit(1)

"""`aura doctor`: the guide's checklists."""

from typing import Annotated

import typer

from aura.core import paths
from aura.one_shot import checklist
from aura.project import source_entries, whole_params


def doctor(
    remote: Annotated[bool, typer.Option(help="Ask the DVC remote, too, over the network.")] = False,
) -> None:
    """Check what the guide asks for before and after training the tokenizer; ends with 1 if all is not well."""
    everything = whole_params.load()
    extracted = [source_entries.extracted(name) for name in everything.extract.sources]
    first = checklist.before(extracted, paths.TOKENIZER, everything.train_tokenizer)
    passed = checklist.passed_gates(paths.TOKENIZER, paths.PASSED)
    then = checklist.after(paths.TOKENIZER, passed) + checklist.versioned(paths.TOKENIZER) + checklist.recorded()
    then += checklist.shared(everything.extract.sources)
    then += [checklist.in_remote(paths.TOKENIZER)] if remote else []
    checklist.show("before training", first)
    checklist.show("after training", then)
    if not all(check.holds or check.only_advice for check in first + then):
        raise typer.Exit(1)

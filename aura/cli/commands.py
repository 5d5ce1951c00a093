"""The subcommands of `aura`: where each one is, its group in the help, and its summary there.

A subcommand's module is imported when that command runs. So `aura --help` imports none of them, and `aura encode` only
its own: all together they take 2 s.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import CompletionItem  # type: ignore[attr-defined]  # of Typer's own copy of Click

# Group, then name: the module below `aura.cli` with the function or the Typer app, and the summary.
GROUPS = {
    "Projects": {
        "init": ("init:init", "Make a project of your own."),
    },
    "Corpus": {
        "source": ("source:app", "List, add, remove and scan the sources of the corpus."),
        "corpus": ("corpus:app", "Show what select dropped, and what it duplicates."),
    },
    "Tokenizer": {
        "encode": ("encode:encode", "Encode a text with the trained tokenizer."),
        "decode": ("encode:decode", "Turn ids back into text."),
        "compare": ("compare:compare", "Measure tokenizers on the same text."),
        "parity": ("compare:parity", "Compare what each language costs in tokens."),
        "vocabulary": ("vocabulary:app", "Measure what each vocabulary size is worth."),
        "bits-per-byte": ("bits_per_byte:bits_per_byte", "Compare tokenizers by the models trained on them."),
        "tokenizer": ("tokenizer:app", "Adopt a tokenizer, name reserved slots, write another format."),
        "name-special": ("naming:name_special", "The same as aura tokenizer name-token."),
        "export-tokenizer": ("naming:export_tokenizer", "Write the files that other programs read."),
    },
    "Model": {
        "chat": ("chat:chat", "Talk with the adapted model."),
        "conversations": ("conversations:app", "List, add, show and remove what a model is adapted on."),
        "evaluate": ("evaluate:evaluate", "Measure a model on held-out sets and tasks."),
        "sample": ("sample:sample", "Continue a text with the trained model."),
        "lr-range": ("lr_range:lr_range", "Find a learning rate by one short run."),
        "gguf": ("gguf:gguf", "Write a model as a file for llama.cpp."),
        "tpu": ("tpu:app", "Plan a run on a TPU pod, and run it there."),
    },
    "Pipeline": {
        "results": ("results:results", "Show what was made, where to look, and what to try next."),
        "experiments": ("experiments:experiments", "List experiments: what changed, and the numbers that count."),
        "why": ("why:why", "Explain which stages would run, and why."),
        "report": ("report:report", "Write the report: the whole pipeline on one page."),
        "plots": ("plots:plots", "Let dvc plots draw without a network."),
        "doctor": ("doctor:doctor", "Check this machine and project against the guide."),
        "work": ("work:work", "Do a part of some stages' tasks, on one of several machines."),
    },
    "Sharing": {
        "remote": ("remote:app", "Set the bucket where results are shared."),
        "push": ("transfers:push", "Upload results to the remote, verified."),
        "pull": ("transfers:pull", "Download results from the remote, verified."),
        "publish": ("versions:publish", "Release a validated tokenizer."),
        "versions": ("versions:versions", "List the released tokenizers."),
        "fetch": ("versions:fetch", "Get a released tokenizer from anywhere, verified."),
    },
    "Upkeep": {
        "repair": ("repair:repair", "Verify and fix dvc.lock and DVC's cache."),
        "gc": ("gc:gc", "List or remove data that git no longer needs."),
        "cache": ("cache:app", "Show or prune the results that stages keep."),
        "lock": ("lock:app", "Register the merge of dvc.lock, and resolve conflicts."),
    },
}


class Group(typer.core.TyperGroup):
    """The group of all subcommands."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - as Typer has it
        super().__init__(**options)
        self.commands = _Commands()  # type: ignore[assignment]  # Typer only reads it

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - of Typer's own copy of Click
        """Return the names."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - as above
        """Write the list of `aura --help`."""
        for group, commands in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name, summary) for name, (_, summary) in commands.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ANN401, ARG002 - as above
        """Return the names that begin so; Typer would import every command for its summary."""
        named = {name: summary for commands in GROUPS.values() for name, (_, summary) in commands.items()}
        return [CompletionItem(name, help=told) for name, told in named.items() if name.startswith(incomplete)]


class _Commands(Mapping[str, Any]):
    """Subcommands by name, each made when it is asked for."""

    def __init__(self) -> None:
        self._places = {name: place for commands in GROUPS.values() for name, place in commands.items()}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a command of Typer's own copy of Click
        place, summary = self._places[name]
        module, _, attribute = place.partition(":")
        found = getattr(import_module(f"aura.cli.{module}"), attribute)
        holder = typer.Typer(add_completion=False, rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=name, short_help=summary)
        else:
            holder.command(name, short_help=summary)(found)
        return typer.main.get_group(holder).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

"""`aura evaluate`: a model measured on held-out sets and tasks, alone or against another one."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from aura.cli import places
from aura.core import console, files, params, paths
from aura.core.errors import UserError
from aura.core.params import SOURCE_NAME

ERROR = "_stderr"  # as `aura/evaluation/measures.py` ends the names of standard errors


def evaluate(
    model: Annotated[
        Path, typer.Argument(parser=places.path, metavar="MODEL", help="Folder of the model, such as models/hf.")
    ] = paths.LANGUAGE_MODEL,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=PATH", help="A set to measure; may be repeated. Default: pretrain.evaluate."
        ),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(parser=places.path, metavar="OTHER", help="Another model, compared item by item.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens read at once. Default: the model's own, 4096 at most.", min=8)
    ] = None,
    lm_eval: Annotated[
        str | None, typer.Option(metavar="TASK[,TASK]", help="Tasks of lm-eval, an extra: pip install 'aura[lm-eval]'.")
    ] = None,
    include_path: Annotated[
        Path | None, typer.Option(parser=places.path, metavar="FOLDER", help="YAML files of lm-eval tasks of your own.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Documents of each lm-eval task.", min=1)] = None,
    network: Annotated[bool, typer.Option("--network", help="Let lm-eval download data sets.")] = False,
    output: Annotated[
        Path | None, typer.Option(parser=places.path, metavar="PATH", help="A JSON file to write.")
    ] = None,
    tokenizer: Annotated[
        Path, typer.Option(parser=places.path, metavar="PATH", help="The tokenizer, for a model without its own.")
    ] = paths.TOKENIZER_MODEL,
) -> None:
    """Measure a model on held-out sets and tasks; docs/evaluation.md has their forms."""
    if output and output.is_dir():
        raise UserError(f"--output: expected a file to write, got the folder {output}")
    if lm_eval is None and (limit is not None or include_path or network):
        raise UserError("--limit, --include-path and --network are for the tasks of --lm-eval, which is not given")
    wanted = _sets(sets, needed=lm_eval is None)
    if not wanted and compare:
        raise UserError("--compare: expected a --set to compare on")
    record: dict[str, Any] = {"model": str(model)}
    if wanted:
        record |= _measured(model, tokenizer, wanted, context, compare)
    if lm_eval:
        from aura.compare import evaluating, lm_eval_model
        from aura.hugging_face import loading

        loaded = loading.load(model, tokenizer)
        read = evaluating.context_of(loaded, context)
        tasks, rows = [task.strip() for task in lm_eval.split(",")], max(1, evaluating.TOKENS // read)
        found = lm_eval_model.run(loaded, read, rows, tasks, folder=include_path, limit=limit, network=network)
        record |= {"context": read, "lm_eval": found}
        _print_tasks(found)
    if output:
        files.write_json(output, record)
        console.out.print(f"written: {output}", markup=False)


def _sets(given: list[str] | None, *, needed: bool) -> dict[str, Path]:
    """The sets by name: those given, or those of params.yaml."""
    found = {}
    for word in given or []:
        name, equals, path = word.partition("=")
        if not (re.fullmatch(SOURCE_NAME, name) and equals and path):
            raise UserError(f"--set: expected NAME=PATH with a name of a-z, 0-9, _ and -, got {word}")
        if name in found:
            raise UserError(f"--set: expected each name once, got {name} twice")
        found[name] = places.path(path)
    if found or not needed:
        return found
    from aura.pretrain.options import PretrainSection

    if Path("params.yaml").exists():
        found = {name: Path(path) for name, path in params.section("pretrain", PretrainSection).evaluate.items()}
    if not found:
        raise UserError("expected a set to measure. Name one: aura evaluate --set NAME=PATH; docs/evaluation.md")
    return found


def _measured(
    model: Path, tokenizer: Path, sets: dict[str, Path], context: int | None, compare: Path | None
) -> dict[str, Any]:
    from aura.compare import evaluating  # here, because JAX takes seconds to import

    one = evaluating.evaluate(model, tokenizer, sets, context)
    if compare is None:
        _print("", one.record()["sets"])
        return one.record()
    other = evaluating.evaluate(compare, tokenizer, sets, one.context)
    if other.context < one.context:  # so that both read the same text
        one = evaluating.evaluate(model, tokenizer, sets, other.context)
    record = one.record()
    _print(str(model), record["sets"])
    difference = evaluating.differences(one, other)
    _print(str(compare), other.record()["sets"])
    _print(f"{model} minus {compare}", difference)
    return record | {"other": other.record(), "difference": difference}


def _print(title: str, sets: dict[str, dict[str, Any]]) -> None:
    """A line for each measure, with its standard error."""
    table = Table(
        Column("set", overflow="fold"),
        Column("items", justify="right"),
        "measure",
        Column("value", justify="right"),
        Column("± standard error", justify="right"),
        title=title or None,
    )
    for name, told in sets.items():
        measures = {key: value for key, value in told.items() if isinstance(value, float) and not key.endswith(ERROR)}
        for key, value in measures.items():
            error = told.get(key + ERROR)
            items = str(told.get("items", "")) if key == next(iter(measures)) else ""
            shown = "" if error is None else f"{error:.4f}"
            table.add_row(
                Text(name if items or not told.get("items") else ""),
                items,
                key.replace("_", " "),
                f"{value:.4f}",
                shown,
            )
        if cut := told.get("cut_contexts"):
            console.err.print(
                f"note: {name}: {cut:,} contexts were longer than the model reads, and lost their beginning"
            )
    console.out.print(table, soft_wrap=False)


def _print_tasks(found: dict[str, dict[str, float]]) -> None:
    table = Table(Column("task", overflow="fold"), "measure", Column("value", justify="right"))
    for task, figures in found.items():
        for name, value in figures.items():
            table.add_row(Text(task), name, f"{value:.4f}")
    console.out.print(table, soft_wrap=False)

"""`aura lr-range`: the learning rates that suit a model and its data, by one short run."""

from typing import Annotated

import typer

from aura.core import console, files, paths
from aura.pretrain import recipe
from aura.project import whole_params
from aura.report import charts


def lr_range(
    low: Annotated[float, typer.Option("--from", help="The rate of the first step.")] = 1e-5,
    high: Annotated[float, typer.Option("--to", help="The rate of the last step, at most 1.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Steps between them.", min=20, max=1_000_000)] = 200,
) -> None:
    """Train with a rate that grows until the loss blows up, and suggest one for pretrain.learning_rate.

    Model, data and optimiser are those of section pretrain. Interrupted, the test goes on with the same command.
    """
    from aura.compare import learning_rates as testing  # here, because JAX takes seconds to import

    rates = testing.Range(low, high, steps)
    options = recipe.decided(whole_params.load().pretrain)
    curve = testing.measured(paths.TOKENS, paths.TOKENIZER_MODEL, paths.LR_RANGE_WORK, options, rates)
    lines = ["step\tlearning_rate\tloss\tsmoothed_loss"]
    lines += [f"{one.step}\t{one.learning_rate!r}\t{one.loss!r}\t{one.smoothed_loss!r}" for one in curve.points]
    drawn = [(one.learning_rate, one.smoothed_loss) for one in curve.points]
    chart = charts.line(
        charts.finite(drawn),
        "learning rate",
        "smoothed loss, nats per token",
        log_x=True,
        log_y=False,
        behind=charts.finite([(one.learning_rate, one.loss) for one in curve.points]),
    )
    folder = paths.LR_RANGE
    files.write_bytes(folder / "curve.tsv", ("\n".join(lines) + "\n").encode())
    files.write_bytes(folder / "curve.svg", charts.standalone(chart).encode())
    found = {"suggested": curve.suggested, "rule": testing.RULE, "steps": len(curve.points), "blew_up": curve.blew_up}
    files.write_json(folder / "result.json", found)
    ended = "the loss blew up" if curve.blew_up else "the highest rate was reached"
    console.out.print(
        f"pretrain.learning_rate: {curve.suggested:g}\n"
        f"  {testing.RULE} (range test, arXiv:1506.01186); {len(curve.points)} steps, then {ended}\n"
        f"  see {folder}/curve.svg, {folder}/curve.tsv",
        markup=False,
    )

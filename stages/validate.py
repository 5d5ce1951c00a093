"""validate: data/corpus/held_out and models/spm → reports/validate."""

from aura.core import console, params, paths, stage_inputs
from aura.core.errors import UserError
from aura.validate import report, validation
from aura.validate.gates import Gate
from aura.validate.options import Validate
from stages import preamble


def main() -> None:
    """Measure the tokenizer on held-out documents; a missed gate ends the pipeline here."""
    preamble.check()
    limits = params.section("validate", Validate)
    cluster = params.shared().cluster
    gates = validation.validate(paths.TOKENIZER_MODEL, paths.HELD_OUT, limits, paths.VALIDATION, cluster)
    page = report.write(paths.TOKENIZER_MODEL, paths.VALIDATION)
    missed = [gate for gate in gates if not gate.holds]
    if missed:
        _explain(missed)
    values = {gate.measure.replace("_", " "): gate.value for gate in gates if gate.limit.startswith(("min", "max"))}
    console.summary("validate", {"gates": f"all {len(gates)} hold"} | values, see=str(page))


def _explain(missed: list[Gate]) -> None:
    """Show each limit and the value that it got, then stop."""
    rows = [[gate.measure, gate.limit, gate.value, gate.look] for gate in missed]
    console.table(
        f"missed gates (reports in {paths.VALIDATION})", ["measure", "expected", "got", "where to look"], rows
    )
    raise UserError(
        f"the tokenizer misses {', '.join(gate.measure for gate in missed)} on held-out documents. Change the "
        "corpus or the train_tokenizer section of params.yaml, or move the limit in its validate section; "
        "then: dvc repro"
    )


if __name__ == "__main__":
    stage_inputs.run("validate", main)

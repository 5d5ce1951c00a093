"""validate: data/corpus and models/spm → reports/validate."""

from aura.core import console, params, paths, stage_inputs
from aura.stages import preamble
from aura.validate import validation
from aura.validate.gates import Gate
from aura.validate.options import Validate


def main() -> None:
    """Measure the tokenizer on held-out documents; the next stage, encode, refuses one that misses a gate."""
    preamble.check()
    limits = params.section("validate", Validate)
    cluster = params.shared().cluster
    source = (paths.TOKENIZER_MODEL, paths.HELD_OUT, limits, paths.VALIDATION, cluster)
    gates = validation.validate(*source, training=paths.TRAIN)
    missed = [gate for gate in gates if not gate.holds]
    for gate in gates:
        if gate.waived:
            console.err.print(f"waived: {gate.told}", markup=False)
        elif not gate.judged:
            console.err.print(f"warning: {gate.told}. It has {gate.look}.", markup=False)
    if missed:
        _explain(missed)
    held = f"all {len(gates)} hold" if not missed else f"{len(missed)} of {len(gates)} missed"
    values = {
        gate.measure.replace("_", " "): _short(gate.value) for gate in gates if gate.limit.startswith(("min", "max"))
    }
    console.summary(
        "validate", {"gates": held} | values, see=f"{paths.VALIDATION}/metrics.json; as a page: aura report --open"
    )


def _short(value: str) -> str:
    """Return a number in three digits; any other value as it is."""
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value


def _explain(missed: list[Gate]) -> None:
    """Say of each gate the limit, the value that it got, and what to do about it."""
    lines = [f"  {gate.told} (see {gate.look})" if gate.look != "-" else f"  {gate.told}" for gate in missed]
    told = [
        f"warning: the tokenizer misses {len(missed)} of its gates, so encode will refuse it:",
        *lines,
        f"Otherwise move the limit in the validate section of params.yaml; then: dvc repro. See {paths.VALIDATION}",
    ]
    console.err.print("\n".join(told), markup=False)


if __name__ == "__main__":
    stage_inputs.run("validate", main)

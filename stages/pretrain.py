"""Stage pretrain: data/tokens and models/spm -> models/lm, reports/pretrain."""

from pathlib import Path

from aura import console, libraries, params
from aura.self_teaching_llm import pretrain

OUTPUT, REPORTS = Path("models/lm"), Path("reports/pretrain")


def main() -> None:
    """Train the language model that params.yaml describes."""
    libraries.require_locked()
    options = params.load().pretrain
    metrics = pretrain.pretrain(Path("data/tokens"), Path("models/spm/spiece.model"), OUTPUT, REPORTS, options)
    console.summary(
        "pretrain",
        {
            "parameters": f"{metrics.parameters:,}",
            "steps": f"{options.steps:,}",
            "tokens": f"{metrics.tokens:,}",
            "held-out bits per byte": f"{metrics.bits_per_byte:.3f}, context-free "
            f"{metrics.context_free_bits_per_byte:.3f} ({-metrics.improvement:+.1%})",
        },
        see=f"{OUTPUT}/config.json, {REPORTS}/samples.txt, dvc plots show",
    )


if __name__ == "__main__":
    console.run(main)

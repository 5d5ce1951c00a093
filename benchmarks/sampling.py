"""Tokens a second when drawing 500 tokens: of an earlier commit and of this one, by turns, on the CPU.

    python benchmarks/sampling.py --before COMMIT

Two models of random weights (tiny: the default's 1.8 million; 10M) continue 1 or 8 prompts of 8 tokens with temperature
0.8 as `aura sample` does (once one program, now `Answerer.answers`), and one prompt as `aura chat` does. A case
"tiny 8 program" draws with `continuations`, as the samples of a run. Each program is compiled, then timed. The earlier
code runs from `git archive`. Writes benchmarks/results/sampling.md, and keeps the rows of cases that are not measured.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure import machine

HERE = Path(__file__).parent
RESULT = HERE / "results/sampling.md"
PROGRAM = HERE / "loops/sampling.py"
CASES = ("tiny 8", "tiny 1", "10M 1", "tiny chat", "tiny chat, top-p 0.9", "10M 8", "10M chat")


def measured(code: Path, cases: tuple[str, ...], tokens: int) -> dict[str, dict[str, float]]:
    """Tokens a second by wall and by processor time, and seconds of the first call, of each case."""
    command = [sys.executable, str(PROGRAM), str(tokens), *cases]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(code), "PATH": ""}, capture_output=True, text=True, check=True
    )
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def others(cases: Sequence[str]) -> list[str]:
    """Rows of an earlier table that are not measured now."""
    table = RESULT.read_text(encoding="utf-8").splitlines() if RESULT.exists() else []
    rows = [line for line in table if line.startswith(("| tiny ", "| 10M "))]
    return [row for row in rows if row.split("|")[1].strip() not in cases]


def main() -> None:
    """Measure both, case by case, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="103b10a", help="the earlier commit")
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("cases", nargs="*", default=CASES)
    given = parser.parse_args()
    rows = others(given.cases)
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", given.before, "aura"], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        for case in given.cases:
            before, now = (measured(code, (case,), given.tokens)[case] for code in (Path(folder), HERE.parent))
            row = (
                f"| {case} | {before['wall']:,.0f} | {now['wall']:,.0f} | {now['wall'] / before['wall']:.1f} | "
                f"{before['cpu']:,.0f} | {now['cpu']:,.0f} | {now['cpu'] / before['cpu']:.1f} | "
                f"{before['first']:.1f} | {now['first']:.1f} |"
            )
            rows.append(row)
            print(row, flush=True)
            RESULT.write_text(
                f"# Drawing {given.tokens} tokens\n\n{machine()}; `benchmarks/sampling.py`; before: {given.before}\n\n"
                "Tokens a second of all texts together, after compilation: by wall time, and by processor time, which\n"
                "others disturb less; medians of three. First: seconds of the first call, compilation included.\n"
                f"{'Rows of other cases are of earlier runs.' if others(given.cases) else ''}\n\n"
                "| model, texts | before | now | factor | before, CPU | now, CPU | factor "
                "| first before, s | first now, s |\n"
                "|---|---|---|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n",
                encoding="utf-8",
            )


if __name__ == "__main__":
    main()

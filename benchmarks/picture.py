"""The picture of the report in README.md, made again: docs/report.png.

    python benchmarks/picture.py

Run in a project whose pipeline is built, on a machine with Chromium. Parts of the page stand below each other, in 256
colours, so that the file stays below 200 kB.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image

from aura.report import page
from tests.report.browser import visit

PICTURE = Path("docs/report.png")
WIDTH, GAP = 1120, 14
# Top and bottom of each part, in pixels: the stages; the tokenizer up to its playground; the model with its curves.
PARTS = """(() => {
  const at = (selector, side) => Math.round(document.querySelector(selector).getBoundingClientRect()[side] + scrollY);
  return [
    [0, at(".pipeline", "bottom") + 30],
    [at("#tokenizer", "top") + 14, at("#pieces", "bottom") + 14],
    [at("#model", "top") + 14, at("#model .charts", "bottom") + 8],
  ];
})()"""


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        found = visit(page.write(), [PARTS], width=WIDTH, shot=shot)
        whole = Image.open(shot).convert("RGB")
    parts = [whole.crop((0, top, whole.width, bottom)) for top, bottom in found["answers"][0]]
    height = sum(part.height for part in parts) + GAP * (len(parts) - 1)
    picture, y = Image.new("RGB", (whole.width, height), "#d9d7d2"), 0
    for part in parts:
        picture.paste(part, (0, y))
        y += part.height + GAP
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    sys.stdout.write(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()

"""extract: the files of one source → data/extracted/NAME, Parquet shards with affect vectors and a manifest."""

import sys

from aura.core import console, params, paths, stage_inputs
from aura.core.errors import UserError
from aura.extract.extract import extract
from aura.extract.options import Extract
from aura.stages import preamble


def main() -> None:
    """Extract the source named on the command line."""
    preamble.check()
    settings = params.section("extract", Extract)
    if sys.argv[1:] and sys.argv[1] in settings.sources:
        name = sys.argv[1]
    else:
        raise UserError(f"usage: python -m aura.stages.extract NAME, with NAME one of {', '.join(settings.sources)}")
    out, cluster = paths.EXTRACTED / name, params.shared().cluster
    with preamble.storage() as (place, cache):
        totals, work = extract(name, settings.sources[name], settings, out, cache, cluster, place)
    lost = ", ".join(f"{count:,} {reason}" for reason, count in totals["lost"].items()) or "nothing"
    cached = max(totals["files"] - work.files_extracted, 0)
    files = f"{totals['files']:,} ({work.files_extracted:,} extracted, {cached:,} cached)"
    facts = {"files": files, "documents": f"{totals['documents']:,}", "lost": lost}
    console.summary(f"extract {name}", facts | {"text": console.size(totals["bytes_kept"])}, see=f"{out}/manifest.json")


if __name__ == "__main__":
    stage_inputs.run("extract", main)

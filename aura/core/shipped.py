"""Files that the installed package brings along, wherever it lies.

In a clone, those in `aura/template` are links to dvc.yaml, params.yaml and others of the repository. A wheel has
copies of them.
"""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
TEMPLATE = PACKAGE / "template"  # what `aura init` makes a project of
PIPELINE = TEMPLATE / "pipeline.yaml"  # not dvc.yaml: DVC would find a second pipeline here
PARAMS = TEMPLATE / "params.yaml"
LEXICON = PACKAGE / "ingestion/lexicon.tsv"

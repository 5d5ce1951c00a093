"""aura: the build system for language-model tokenizers and the models trained on them."""

import sys

# `python stages/NAME.py` puts stages/ first on sys.path, where stages/select.py would hide the standard
# library's `select` from subprocess and asyncio. `python -m stages.NAME` has no such trouble.
if sys.path and sys.path[0].rstrip("/").endswith("stages"):
    del sys.path[0]

"""One thin script per DVC stage: read params, call aura, write outputs, report."""

import gc
import sys

if sys.argv[:1] == ["-m"]:  # as Python has it while it looks for the module of `python -m stages.NAME`
    gc.disable()  # until `console.run`: imports make objects that stay

from aura.core import stage_inputs  # noqa: F401 - stamps the code before any other module is imported

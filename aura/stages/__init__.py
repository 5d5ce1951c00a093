"""One thin module per stage of DVC, run as `python -m aura.stages.NAME`: read params, call aura, report."""

import gc
import sys

from aura.core import stage_inputs  # stamps the code before any other module is imported

if sys.argv[:1] == ["-m"]:  # as Python has it while it looks for the module of `python -m aura.stages.NAME`
    gc.disable()  # until `console.run`: imports make objects that stay
    stage_inputs.begin(sys.orig_argv)

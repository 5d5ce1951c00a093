"""The path that documents name for the stage select; its code is in `aura/stages/select.py`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("aura.stages.select", run_name="__main__")

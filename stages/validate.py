"""The path that documents name for the stage validate; its code is in `aura/stages/validate.py`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("aura.stages.validate", run_name="__main__")

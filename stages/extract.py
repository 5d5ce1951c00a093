"""The path that documents name for the stage extract; its code is in `aura/stages/extract.py`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("aura.stages.extract", run_name="__main__")

"""The path that documents name for the stage export; its code is in `aura/stages/export.py`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("aura.stages.export", run_name="__main__")

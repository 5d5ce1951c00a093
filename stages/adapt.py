"""The path that documents name for the stage adapt; its code is in `aura/stages/adapt.py`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("aura.stages.adapt", run_name="__main__")

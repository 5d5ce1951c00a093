"""The path that documents name for the stage encode; its code is in `aura/stages/encode.py`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("aura.stages.encode", run_name="__main__")

"""The path that documents name for the stage pretrain; its code is in `aura/stages/pretrain.py`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("aura.stages.pretrain", run_name="__main__")

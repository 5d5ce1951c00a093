"""The path that documents name for the stage conversations; its code is in `aura/stages/conversations.py`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("aura.stages.conversations", run_name="__main__")

"""The path that documents name for the stage train_tokenizer; its code is in `aura/stages/train_tokenizer.py`."""

import runpy

from aura.one_shot.program import train_tokenizer_enhanced as train_tokenizer_enhanced

if __name__ == "__main__":
    runpy.run_module("aura.stages.train_tokenizer", run_name="__main__")

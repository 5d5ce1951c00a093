"""The guide's `python aura/self_teaching_llm/build_aura_model.py`; the code is in `aura/one_shot/build_model.py`."""

from aura.one_shot.build_model import main
from aura.one_shot.pretraining import pretrain_hf

__all__ = ["main", "pretrain_hf"]

if __name__ == "__main__":
    main()

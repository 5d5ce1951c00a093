"""The users' `python -m aura.self_teaching_llm.train_instruct`; the code is in `aura/one_shot/instruct.py`."""

from aura.one_shot.instruct import main, train_instruct

__all__ = ["main", "train_instruct"]

if __name__ == "__main__":
    main()

"""The users' `aura.self_teaching_llm.self_teaching_adapter`; the code is in `aura/one_shot/self_teaching.py`."""

from aura.one_shot.self_teaching import SelfTeachingAdapter

__all__ = ["SelfTeachingAdapter"]

"""The guide's `aura.self_teaching_llm.tokenizer_spm`; the code is in `aura/one_shot/spm_tokenizer.py`."""

from aura.one_shot.spm_tokenizer import SPMTokenizer

__all__ = ["SPMTokenizer"]

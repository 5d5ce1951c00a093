"""The README.md of an exported model, made from what its folders say of themselves."""

from collections.abc import Iterable
from typing import Any

from aura.model.model import ModelConfig


def model_card(
    record: dict[str, Any], config: ModelConfig, tokenizer: dict[str, Any], sha256: str, notice: str | None = None
) -> str:
    """The card in Hugging Face's form.

    Arguments:
        record: config.json of the trained model.
        config: the shape of it.
        tokenizer: spiece_config.json; parts that an older one lacks are left out.
        sha256: of the tokenizer, as the model was trained on it.
        notice: what other programs do with the folder (`gguf_notice`) or cannot do (`hf_export.gguf_notice`).
    """
    corpus = tokenizer.get("corpus")
    learnt = corpus if isinstance(corpus, dict) else {}
    numbers = {
        "parameters": record.get("parameters"),
        "layers": config.layers,
        "width": config.width,
        "attention heads": config.heads,
        "key and value heads": config.kv_heads,
        "context in tokens": record.get("seq_len"),
        "pieces of the tokenizer": config.vocab_size,
        "documents that the tokenizer learnt from": learnt.get("documents"),
        "bytes of their text": learnt.get("bytes"),
    }
    rows = [f"| {name} | {value:,} |" for name, value in numbers.items() if isinstance(value, int)]
    hashes = [f"| SHA-256 of the tokenizer | `{sha256}` |"]
    hashes += [f"| hash of the corpus | `{learnt['hash']}` |"] if isinstance(learnt.get("hash"), str) else []
    return _CARD.format(rows="\n".join(rows + hashes), notice=f"{notice}\n\n" if notice else "")


def gguf_notice(differences: Iterable[str]) -> str:
    """The paragraph on model.gguf; `differences` are those of `gguf_vocabulary.Vocabulary`."""
    return " ".join(("`model.gguf` is the same model for llama.cpp, in float32.", *differences))


_CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [llama, sentencepiece, aura]
---

# A language model made by aura

A Llama-style model and its SentencePiece tokenizer, trained from nothing on one corpus. It continues text. It was not
taught to follow instructions, and what it says may be wrong or harmful.

| | |
|---|---|
{rows}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer, model = (kind.from_pretrained("models/hf") for kind in (AutoTokenizer, AutoModelForCausalLM))
ids = tokenizer("The function returns", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=64)[0]))
```

The tokenizer loses nothing: it decodes to the text that it encoded, for any Unicode text. By default, transformers
makes special tokens out of text that spells their names. For text from elsewhere, pass `split_special_tokens=True`.

{notice}The licences of the texts decide what the model may be used for. This folder does not know them; the project's
sources do. The commit that holds these files in dvc.lock has every param, source and version, so that it can be made
again.
"""

"""The README.md of an exported model, made from what its folders say of themselves."""

from collections.abc import Iterable, Sequence
from textwrap import TextWrapper
from typing import Any

from aura.model.model import NETWORKS, ModelConfig

fill = TextWrapper(120, break_long_words=False, break_on_hyphens=False).fill


def model_card(
    record: dict[str, Any], config: ModelConfig, tokenizer: dict[str, Any], sha256: str, notices: Sequence[str]
) -> str:
    """The card in Hugging Face's form.

    Arguments:
        record: config.json of the trained model.
        config: the shape of it.
        tokenizer: spiece_config.json, or adopted.json; parts that an older one lacks are left out.
        sha256: of the tokenizer, as the model was trained on it.
        notices: paragraphs on the tokenizer: what holds of it, and what other programs can and cannot do with it.
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
    if waived := record.get("waived_gates"):
        hashes.append(f"| gates that the tokenizer misses, waived | {', '.join(map(str, waived))} |")
    shown = "".join(f"{fill(notice)}\n\n" for notice in notices)
    return _CARD.format(rows="\n".join(rows + hashes), notices=shown, tag=config.network, kind=NETWORKS[config.network])


def gguf_notice(differences: Iterable[str]) -> str:
    """The paragraph on model.gguf; `differences` are those of `gguf_vocabulary.Vocabulary`."""
    return " ".join(("`model.gguf` is the same model for llama.cpp, in float32.", *differences))


_CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [{tag}, aura]
---

# A language model made by aura

A {kind}-style model, trained on one corpus. It continues text. It was not
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

{notices}The licences of the texts decide what the model may be used for. This folder does not know them; the project's
sources do. The commit that holds these files in dvc.lock has every param, source and version, so that it can be made
again.
"""

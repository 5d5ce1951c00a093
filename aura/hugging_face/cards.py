"""The README.md of models/chat and models/adapter: what they were made of, and how to use them."""

from collections.abc import Mapping

Facts = Mapping[str, Mapping[str, str | int | float]]  # by title (the base, the data, the gates): names and values
LICENCES = """The licences of the texts decide what the model may be used for. This folder does not know them; the
project's sources do. What the model says may be wrong or harmful."""


def chat_card(facts: Facts, *, from_nothing: bool = True) -> str:
    """The card of a merged model; `from_nothing` says that its base did not begin from existing weights."""
    origin = "from nothing on one corpus" if from_nothing else "on one corpus from existing weights on"
    return _CHAT.format(facts=_tables(facts), origin=origin, licences=LICENCES)


def adapter_card(base_folder: str, facts: Facts) -> str:
    """The card of an adapter for the model in `base_folder`."""
    return _ADAPTER.format(base=base_folder, facts=_tables(facts), licences=LICENCES)


def _tables(facts: Facts) -> str:
    """A table for each title."""
    parts = []
    for title, values in facts.items():
        rows = "\n".join(f"| {_shown(name)} | {_shown(value)} |" for name, value in values.items())
        parts.append(f"## {title}\n\n| | |\n|---|---|\n{rows}")
    return "\n\n".join(parts)


def _shown(value: str | int | float) -> str:
    """A value in one cell."""
    if isinstance(value, str):
        return " ".join(value.split()).replace("|", "\\|")
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


_CHAT = """---
library_name: transformers
pipeline_tag: text-generation
tags: [llama, sentencepiece, aura, chat]
---

# A chat model made by aura

A Llama-style model that was trained {origin}, and then adapted to conversations.

{facts}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer, model = (kind.from_pretrained("models/chat") for kind in (AutoTokenizer, AutoModelForCausalLM))
messages = [{{"role": "user", "content": "What does the function json.loads do?"}}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**ids, max_new_tokens=64)[0]))
```

An answer ends with `<eos>`. By default, transformers makes special tokens out of text that spells their names. Do not
let text from elsewhere spell them.

{licences}
"""
_ADAPTER = """---
library_name: peft
base_model: {base}
tags: [llama, lora, aura]
---

# An adapter made by aura

Low-rank matrices (LoRA) for the model in `{base}`, and the rows of the chat's special tokens. The adapter fits the base
below and no other.

{facts}

## Use

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "models/adapter")
```

{licences}
"""

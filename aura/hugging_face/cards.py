"""The README.md of models/chat and models/adapter: what they were made of, and how to use them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import TextWrapper

from aura.model.model import NETWORKS

fill = TextWrapper(120, break_long_words=False, break_on_hyphens=False).fill
Facts = Mapping[str, Mapping[str, str | int | float]]  # by title (the base, the data, the gates): names and values
LICENCES = """The licences of the texts decide what the model may be used for. This folder does not know them; the
project's sources do. What the model says may be wrong or harmful."""


@dataclass(frozen=True)
class ChatTokenizer:
    """The tokenizer of a chat model, as far as a card tells of it.

    Attributes:
        eos: name of the token that ends an answer.
        has_json: whether there is a tokenizer.json, which transformers needs.
        has_template: whether tokenizer_config.json has a chat template.
        marked_by_text: roles without a token of their own.
    """

    eos: str
    has_json: bool
    has_template: bool
    marked_by_text: Sequence[str] = ()


def chat_card(facts: Facts, tokenizer: ChatTokenizer, network: str, *, from_nothing: bool = True) -> str:
    """The card of a merged model; `from_nothing` says that its base did not begin from existing weights.

    `network` is a key of `model.NETWORKS`.
    """
    origin = "from nothing on one corpus" if from_nothing else "on one corpus from existing weights on"
    kind, use = NETWORKS[network], _use(tokenizer)
    return _CHAT.format(tag=network, kind=kind, facts=_tables(facts), origin=origin, use=use, licences=LICENCES)


def adapter_card(base_folder: str, facts: Facts, network: str) -> str:
    """The card of an adapter for the model in `base_folder`; `network` is a key of `model.NETWORKS`."""
    return _ADAPTER.format(base=base_folder, tag=network, facts=_tables(facts), licences=LICENCES)


def _use(tokenizer: ChatTokenizer) -> str:
    """The way to talk with the model: by transformers if it has all that it takes, and by aura otherwise."""
    ends = f"An answer ends with `{tokenizer.eos}`."
    forged = (
        f"Only text marks the roles {', '.join(tokenizer.marked_by_text)}. Any message can write that text, too."
        if tokenizer.marked_by_text
        else ""
    )
    if tokenizer.has_json and tokenizer.has_template:
        return f"{_BY_TRANSFORMERS}\n\n{fill(f'{ends} {_FORGED}')}"
    reason = _NO_TEMPLATE if tokenizer.has_json else _NO_JSON
    return f"{_BY_AURA}\n\n{fill(f'{reason} {ends} {forged}'.strip())}"


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


_BY_TRANSFORMERS = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer, model = (kind.from_pretrained("models/chat") for kind in (AutoTokenizer, AutoModelForCausalLM))
messages = [{"role": "user", "content": "What does the function json.loads do?"}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**ids, max_new_tokens=64)[0]))
```"""
_FORGED = (
    "By default, transformers makes special tokens out of text that spells their names. Do not let text from elsewhere "
    "spell them."
)
_BY_AURA = """```bash
aura chat
```"""
_NO_TEMPLATE = (
    "The tokenizer lacks special tokens for some roles of a chat, so there is no chat template for transformers."
)
_NO_JSON = "There is no tokenizer.json, so transformers does not encode for this model. adopted.json has the reason."
_CHAT = """---
library_name: transformers
pipeline_tag: text-generation
tags: [{tag}, aura, chat]
---

# A chat model made by aura

A {kind}-style model that was trained {origin}, and then adapted to conversations.

{facts}

## Use

{use}

{licences}
"""
_ADAPTER = """---
library_name: peft
base_model: {base}
tags: [{tag}, lora, aura]
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

"""An adopted tokenizer for other programs: what lies beside its own file in models/spm and models/hf.

Hugging Face's libraries need tokenizer.json and tokenizer_config.json, converters to GGUF tokenizer.model. A
tokenizer.json is made of a SentencePiece model only where it gives the same ids (`from_sentencepiece`), and never of
another format. Where there is none, the model's card says why.
"""

import re
from typing import Any

from aura.core.errors import UserError
from aura.tokenizer import from_sentencepiece, indented_json
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.chat import CHAT_TEMPLATE, TOKENS
from aura.tokenizer.hf_export import CONFIG
from aura.tokenizer.tokenizer import COPY, EXPORTED

_CONFIG_ROLES = ("bos", "eos", "pad", "unk")


def export(tokenizer: AdoptedTokenizer) -> tuple[dict[str, bytes], str | None]:
    """The files by name, and a sentence on what they lack; the tokenizer's own file is not among them."""
    made, notice = {CONFIG: (indented_json.dumps(_config(tokenizer)) + "\n").encode()}, None
    if tokenizer.file.suffix == ".json":
        if tokenizer.file.name != EXPORTED:
            notice = "Hugging Face's libraries cannot read this tokenizer's file; serve it with a program that can"
        return made, notice
    content = tokenizer.file.read_bytes()
    try:
        made[EXPORTED] = from_sentencepiece.tokenizer_json(content)
    except UserError as error:
        notice = f"There is no tokenizer.json for Hugging Face's libraries: {error}"
    return made | {COPY: content}, notice


def _config(tokenizer: AdoptedTokenizer) -> dict[str, Any]:
    named = {
        f"{role}_token": tokenizer.piece(token) for role, token in tokenizer.roles.items() if role in _CONFIG_ROLES
    }
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **named,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    if template := chat_template(tokenizer):
        config["chat_template"] = template
    return config


def chat_template(tokenizer: AdoptedTokenizer) -> str | None:
    """The template of a tokenizer with a special token for each role; None otherwise, as text would forge them."""
    wanted = (*TOKENS, "bos", "eos")
    if not all(role in tokenizer.roles for role in wanted):
        return None
    names = {token: tokenizer.piece(tokenizer.roles[role]) for role, token in TOKENS.items()}
    if any(character in name for name in names.values() for character in "'\\{}"):  # they mean something to Jinja
        return None
    return re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], CHAT_TEMPLATE)

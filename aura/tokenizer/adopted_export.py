"""An adopted tokenizer for other programs: what lies beside its own file in models/spm and models/hf.

Hugging Face's libraries need tokenizer.json and tokenizer_config.json, converters to GGUF tokenizer.model. A
tokenizer.json is made only where it gives the same ids (`conversion`). Where there is none, adopted.json and the
model's card say why.
"""

from typing import Any

from aura.core.errors import UserError
from aura.tokenizer import conversion, foreign, indented_json
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.chat import TOKENS, template
from aura.tokenizer.hf_export import CONFIG
from aura.tokenizer.rust_libraries import guarded, silent
from aura.tokenizer.tokenizer import COPY, EXPORTED

MODEL = "spiece.model"

_CONFIG_ROLES = ("bos", "eos", "pad", "unk")


def export(tokenizer: AdoptedTokenizer) -> tuple[dict[str, bytes], str | None]:
    """The files by name, and the reason if tokenizer.json cannot be; the tokenizer's own file is not among them.

    What is made is proven: its ids are compared on texts of many kinds, which takes up to ten seconds.
    """
    made = {CONFIG: (indented_json.dumps(_config(tokenizer)) + "\n").encode()}
    name = foreign.usual_name(tokenizer.file)
    if name == EXPORTED:
        return made, None
    try:
        made[EXPORTED] = conversion.tokenizer_json(tokenizer.file)
    except UserError as error:  # and no copy under a name of which those libraries make a tokenizer with other ids
        return made, str(error)
    return made | ({COPY: tokenizer.file.read_bytes()} if name == MODEL else {}), None


def own_marks(tokenizer: AdoptedTokenizer) -> tuple[list[str], list[str]]:
    """Names of the tokens that an adopted tokenizer.json puts before and after a text in Hugging Face's libraries.

    Its post-processor does so. It stays in the file, and `AdoptedTokenizer` leaves it out.
    """
    import tokenizers

    with silent(), guarded(str(tokenizer.file)):
        library = tokenizers.Tokenizer.from_file(str(tokenizer.file))
        library.no_padding()
        library.no_truncation()
        plain, marked = (library.encode("a", add_special_tokens=marks).ids for marks in (False, True))
        names = [str(library.id_to_token(token)) for token in marked]
    for begin in range(len(marked) - len(plain) + 1):
        if marked[begin : begin + len(plain)] == plain:
            return names[:begin], names[begin + len(plain) :]
    return names, []


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
    if written := chat_template(tokenizer):
        config["chat_template"] = written
    return config


def chat_template(tokenizer: AdoptedTokenizer) -> str | None:
    """The template of a tokenizer with a special token for each role; None otherwise, as text would forge them."""
    wanted = (*TOKENS, "bos", "eos")
    if not all(role in tokenizer.roles for role in wanted):
        return None
    names = {role: tokenizer.piece(tokenizer.roles[role]) for role in TOKENS}
    if any(character in name for name in names.values() for character in "'\\{}"):  # they mean something to Jinja
        return None
    return template(names)

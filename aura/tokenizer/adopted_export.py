"""An adopted tokenizer for other programs: what lies beside its own file in models/spm and models/hf.

Hugging Face's libraries need tokenizer.json and tokenizer_config.json, converters to GGUF tokenizer.model. A
tokenizer.json is made only where it gives the same ids (`conversion`). Where there is none, adopted.json and the
model's card say why.
"""

from collections.abc import Container, Mapping
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
    name = foreign.usual_name(tokenizer.file)
    if name == EXPORTED:
        return {CONFIG: _config(tokenizer, tokenizer.file.read_bytes())}, None
    try:
        made = conversion.tokenizer_json(tokenizer.file)
    except UserError as error:  # and no copy under a name of which those libraries make a tokenizer with other ids
        return {CONFIG: _config(tokenizer, None)}, str(error)
    copy = {COPY: tokenizer.file.read_bytes()} if name == MODEL else {}
    return {CONFIG: _config(tokenizer, made), EXPORTED: made, **copy}, None


def own_marks(tokenizer: AdoptedTokenizer) -> tuple[list[str], list[str]]:
    """Names of the tokens that an adopted tokenizer.json puts before and after a text in Hugging Face's libraries.

    Its post-processor does so. It stays in the file, and `AdoptedTokenizer` leaves it out.
    """
    library = _opened(tokenizer.file.read_bytes())
    with guarded(str(tokenizer.file)):
        library.no_padding()
        library.no_truncation()
        plain, marked = (library.encode("a", add_special_tokens=marks).ids for marks in (False, True))
        names = [str(library.id_to_token(token)) for token in marked]
    for begin in range(len(marked) - len(plain) + 1):
        if marked[begin : begin + len(plain)] == plain:
            return names[:begin], names[begin + len(plain) :]
    return names, []


def _opened(tokenizer_json: bytes) -> Any:  # noqa: ANN401 - a tokenizers.Tokenizer
    import tokenizers

    with silent(), guarded(EXPORTED):
        return tokenizers.Tokenizer.from_buffer(tokenizer_json)


def _config(tokenizer: AdoptedTokenizer, tokenizer_json: bytes | None) -> bytes:
    """tokenizer_config.json; tokens of roles have the names that tokenizer.json gives them.

    transformers takes a name that is not there for a new token. A learnt piece has another name there than its text.
    """
    names = {role: tokenizer.piece(token) for role, token in tokenizer.roles.items()}
    special = {*tokenizer.roles}
    if tokenizer_json is not None:
        library = _opened(tokenizer_json)
        names = {role: library.id_to_token(token) or names[role] for role, token in tokenizer.roles.items()}
        special = {role for role, token in tokenizer.roles.items() if token in library.get_added_tokens_decoder()}
    named = {f"{role}_token": name for role, name in names.items() if role in _CONFIG_ROLES}
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **named,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    if written := _chat_template(names, special):
        config["chat_template"] = written
    return (indented_json.dumps(config) + "\n").encode()


def _chat_template(names: Mapping[str, str], special: Container[str]) -> str | None:
    """The template of a tokenizer with a special token for each role; None otherwise, as text would forge them."""
    if not {"bos", "eos"} <= names.keys() or not all(role in names and role in special for role in TOKENS):
        return None
    if any(character in names[role] for role in TOKENS for character in "'\\{}"):  # they mean something to Jinja
        return None
    return template(names)

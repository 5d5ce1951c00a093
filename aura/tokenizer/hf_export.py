"""The tokenizer for Hugging Face's libraries: tokenizer.json and tokenizer_config.json, with SentencePiece's own ids.

Written here, as transformers' converters are wrong for these settings (5.23: no byte fallback for unigram, an error
for BPE). What differs from a usual conversion, and why:

- Pieces have the space itself where SentencePiece has U+2581, so no normalisation is needed, and a literal U+2581
  is a character without a piece: it becomes its three bytes, as in `Tokenizer`.
- SentencePiece keeps no list of BPE merges. A piece can be merged of any two pieces that make it, at its own rank.
- In unigram, special tokens and byte pieces score so low that their names in text stay text, and user symbols, which
  may overlap, get the score that SentencePiece gives them. In BPE it takes the leftmost longest, as added tokens are.

By default these libraries do make special tokens out of text, which chat templates need. For text from
elsewhere, pass `split_special_tokens=True`.
"""

import json
from collections.abc import Iterator
from typing import Any

from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.tokenizer.symbols import BOS, EOS, PAD, ROLES, SPACE, UNK

NEVER = -1e4  # a score below that of any text: one of 16 characters, each a piece of its own, reaches -400
USER_SCORE = -0.1  # of a user symbol in SentencePiece 0.2.3, whatever its proto says: above that of any other piece
_TYPES = model_pb2.ModelProto.SentencePiece

# A message is its role's token and its text; <eos> ends what the model is to learn to end.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant', 'thought', 'action', 'observation'] %}"
    "{{ raise_exception('expected a role out of system, user, assistant, thought, action and observation, came '"
    " + message['role']) }}"
    "{% endif %}"
    "{{ '<' + message['role'] | upper + '>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<ASSISTANT>' }}{% endif %}"
)


def export(content: bytes) -> dict[str, bytes]:
    """The files, by name, for a model file that `aura.tokenizer.model_file` has found to be right."""
    model = model_pb2.ModelProto.FromString(content)
    return {"tokenizer.json": _json(_tokenizer(model)), "tokenizer_config.json": _json(_config(model))}


def _tokenizer(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
    vocabulary = [entry.piece.replace(SPACE, " ") for entry in model.pieces]
    is_bpe = model.trainer_spec.model_type == model_pb2.TrainerSpec.BPE
    # No piece holds a space after anything else, so words can be taken one by one, and remembered.
    splits = [_split({"Regex": " *[^ ]+| +"})]
    if "<" not in vocabulary:
        # Without a piece it has a lower score than a special token whose name begins with it.
        splits.append(_split({"String": "<"}))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(_added_tokens(model)),
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": _bpe(model, vocabulary) if is_bpe else _unigram(model, vocabulary),
    }


def _config(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "unk_token": UNK,
        "clean_up_tokenization_spaces": False,
    }
    special = {entry.piece for entry in model.pieces if entry.type == _TYPES.CONTROL}
    return config | ({"chat_template": CHAT_TEMPLATE} if special.issuperset(ROLES) else {})


def _added_tokens(model: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a ModelProto
    """Special tokens, and BPE's user symbols; those of one character need no more than to be in the vocabulary."""
    is_bpe = model.trainer_spec.model_type == model_pb2.TrainerSpec.BPE
    for place, entry in enumerate(model.pieces):
        special = entry.type in (_TYPES.CONTROL, _TYPES.UNKNOWN)
        if special or (is_bpe and entry.type == _TYPES.USER_DEFINED and len(entry.piece) > 1):
            flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
            yield {"id": place, "content": entry.piece} | flags


def _split(pattern: dict[str, str]) -> dict[str, Any]:
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def _bpe(model: Any, vocabulary: list[str]) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
    learnt = {
        piece: entry.score for piece, entry in zip(vocabulary, model.pieces, strict=True) if entry.type == _TYPES.NORMAL
    }
    merges = [
        [piece[:place], piece[place:]]
        for piece in sorted(learnt, key=learnt.__getitem__, reverse=True)
        for place in range(1, len(piece))
        if piece[:place] in learnt and piece[place:] in learnt
    ]
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": UNK,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {piece: place for place, piece in enumerate(vocabulary)},
        "merges": merges,
    }


def _unigram(model: Any, vocabulary: list[str]) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
    never = (_TYPES.CONTROL, _TYPES.UNKNOWN, _TYPES.BYTE)
    fixed = dict.fromkeys(never, NEVER) | {_TYPES.USER_DEFINED: USER_SCORE}
    scores = [fixed.get(entry.type, entry.score) for entry in model.pieces]
    return {
        "type": "Unigram",
        "unk_id": vocabulary.index(UNK),
        "vocab": [list(pair) for pair in zip(vocabulary, scores, strict=True)],
        "byte_fallback": True,
    }


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=True) + "\n").encode()

"""The tokenizer for other programs, with SentencePiece's own ids.

tokenizer.json and tokenizer_config.json are for Hugging Face's libraries and what is built on them; for BPE,
tokenizer.model is what converters to GGUF look for (llama.cpp has no exact reading of unigram: see `gguf_notice`).

tokenizer.json is written here, as transformers' converters are wrong for these settings (5.23: no byte fallback for
unigram, an error for BPE). The differences from a usual conversion, and the reasons:

- Pieces have the space itself where SentencePiece has U+2581, so no normalisation is needed, and a literal U+2581
  is a character without a piece: it becomes its three byte pieces, as in `Tokenizer`.
- SentencePiece keeps no list of BPE merges. A piece can be merged of any two pieces that make it, at its own rank.
- Unigram gets each character without a piece alone. `tokenizers` prices such a character ten below the lowest score of
  the vocabulary, so inside of a longer text a special token spelt with it would be the cheaper reading.
- In unigram, special tokens and byte pieces score below any text of the same length that has pieces, so their names
  in text stay text.
- User symbols of several characters are added tokens, of which these libraries take the leftmost and there the
  longest. They are marked as normalized, for which these libraries search after all special tokens and apart from
  them: a user symbol inside of a special token's name is then found where that name is text.

By default these libraries do make special tokens out of text, which chat templates need. For text from
elsewhere, pass `split_special_tokens=True`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.tokenizer import indented_json
from aura.tokenizer.chat import CHAT_TEMPLATE
from aura.tokenizer.symbols import BASIC, BOS, EOS, PAD, ROLES, SPACE, UNK
from aura.tokenizer.tokenizer import COPY, EXPORTED

CONFIG = "tokenizer_config.json"
USER_SCORE = -0.1  # of a user symbol in SentencePiece 0.2.3, whatever its proto says: above that of any other piece
_TYPES = model_pb2.ModelProto.SentencePiece
_SPECIAL = (_TYPES.CONTROL, _TYPES.UNKNOWN)
_WORDS = " *[^ ]+| +"  # no piece holds a space after anything else, so words can be taken one by one, and remembered


def export(content: bytes) -> dict[str, bytes]:
    """The files, by name, for a model file that `aura.tokenizer.model_file` has found to be right."""
    model = model_pb2.ModelProto.FromString(content)
    exported = {EXPORTED: _json(_tokenizer(model)), CONFIG: _json(_config(model))}
    return exported | ({COPY: content} if _is_bpe(model) else {})


def for_model(
    tokenizer: dict[str, Any], config: dict[str, Any], *, bos: tuple[str, int] | None, max_tokens: int
) -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json of `export` as they belong beside a trained model.

    Arguments:
        tokenizer: the JSON of the first; it gets the changes.
        config: that of the second, as well.
        bos: name and id of the token that begins each text, as it began each document that the model was trained on;
            None without. Any token of the vocabulary can, also one that is no special token.
        max_tokens: the model's context, in tokens; `truncation=True` cuts there.
    """
    if bos is not None:
        tokenizer["post_processor"] = _bos_first(*bos)
    config |= {"add_bos_token": bos is not None, "model_max_length": max_tokens}
    return {EXPORTED: _json(tokenizer), CONFIG: _json(config)}


def gguf_notice(content: bytes) -> str | None:
    """A sentence for who wants to serve with llama.cpp a tokenizer that it cannot read exactly; None for BPE."""
    if _is_bpe(model_pb2.ModelProto.FromString(content)):
        return None
    return (
        "llama.cpp cannot read this unigram tokenizer exactly: it gives <unk> for a character without a piece, in the "
        "place of byte pieces. So no tokenizer.model is written, and converters to GGUF refuse the folder. "
        "To serve from GGUF, train with model_type: bpe."
    )


def _is_bpe(model: Any) -> bool:  # noqa: ANN401 - a ModelProto
    return bool(model.trainer_spec.model_type == model_pb2.TrainerSpec.BPE)


def _tokenizer(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
    vocabulary = [entry.piece.replace(SPACE, " ") for entry in model.pieces]
    splits = [_WORDS] if _is_bpe(model) else [_WORDS, _without_piece(model, vocabulary)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(_added_tokens(model)),
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_split(pattern) for pattern in splits]},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": _bpe(model, vocabulary) if _is_bpe(model) else _unigram(model, vocabulary),
    }


def _config(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a ModelProto
    special = [entry.piece for entry in model.pieces if entry.type == _TYPES.CONTROL]
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "unk_token": UNK,
        "added_tokens_decoder": {str(token.pop("id")): token for token in _added_tokens(model)},  # for GGUF, too
        "additional_special_tokens": [name for name in special if name not in BASIC],
        "add_prefix_space": False,  # for converters to GGUF: llama.cpp adds one unless told
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    return config | ({"chat_template": CHAT_TEMPLATE} if set(special).issuperset(ROLES) else {})


def _added_tokens(model: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a ModelProto
    """Special tokens and user symbols; those of one character need no more than to be in the vocabulary."""
    for place, entry in enumerate(model.pieces):
        special = entry.type in _SPECIAL
        if special or _is_long_symbol(entry):
            flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": not special}
            yield {"id": place, "content": entry.piece} | flags | {"special": special}


def _is_long_symbol(entry: Any) -> bool:  # noqa: ANN401 - a ModelProto.SentencePiece
    return bool(entry.type == _TYPES.USER_DEFINED and len(entry.piece) > 1)


def _without_piece(model: Any, vocabulary: Iterable[str]) -> str:  # noqa: ANN401 - a ModelProto
    """A pattern that matches one character that has no piece."""
    entries = zip(vocabulary, model.pieces, strict=True)
    alone = (_TYPES.NORMAL, _TYPES.USER_DEFINED)
    codes = sorted(ord(text) for text, entry in entries if entry.type in alone and len(text) == 1)
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return f"[^{''.join('-'.join(_in_class(code) for code in sorted({*ends})) for ends in ranges)}]"


def _in_class(code: int) -> str:
    return re.sub(r"[\\\]\[^-]", r"\\\g<0>", chr(code))


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _bos_first(bos: str, token: int) -> dict[str, Any]:
    """The post-processor that puts a token before each text, and before each of a pair."""

    def begun(sequence: str) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": sequence, "type_id": 0}}]

    special = {bos: {"id": bos, "ids": [token], "tokens": [bos]}}
    single, second = begun("A"), begun("B")
    return {"type": "TemplateProcessing", "single": single, "pair": single + second, "special_tokens": special}


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
    scores = _unigram_scores(model)
    return {
        "type": "Unigram",
        "unk_id": vocabulary.index(UNK),
        "vocab": [list(pair) for pair in zip(vocabulary, scores, strict=True)],
        "byte_fallback": True,
    }


def _unigram_scores(model: Any) -> Iterator[float]:  # noqa: ANN401 - a ModelProto
    lowest = min((entry.score for entry in model.pieces if entry.type == _TYPES.NORMAL), default=0.0)
    for entry in model.pieces:
        if entry.type == _TYPES.NORMAL:
            yield entry.score
        elif entry.type == _TYPES.USER_DEFINED:
            yield USER_SCORE
        else:  # below its name as text, be that all pieces of one character
            yield len(entry.piece) * min(lowest, 0.0) - 1


def _json(value: dict[str, Any]) -> bytes:
    return (indented_json.dumps(value) + "\n").encode()

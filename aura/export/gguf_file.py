"""A LlamaForCausalLM or Qwen3ForCausalLM folder as one GGUF file, which llama.cpp and what is built on it run.

The file is made from the folder (models/hf, models/chat), so that both say the same. Weights stay float32: a model of
another precision or a quantised one is made of the file by llama.cpp's own llama-quantize. Tensors are copied in pieces
of 64 MB, except for the matrices of queries and keys of a Llama: llama.cpp rotates neighbouring numbers of a head where
transformers rotates the numbers of its two halves, so their rows are put into the other order, a matrix at a time. For
a Qwen3 both rotate the two halves.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.export.gguf_vocabulary import Vocabulary, vocabulary
from aura.hugging_face.folder import GGUF
from aura.hugging_face.llama import MATRICES, Array, Tensors, scales_of
from aura.hugging_face.llama_settings import CONFIG, read_config
from aura.model import tensor_file
from aura.model.model import NETWORKS, ModelConfig, pair_frequencies, stretched
from aura.model.tensor_file import Piece, Tensor
from aura.tokenizer import hf_export

if TYPE_CHECKING:  # the library takes 0.1 s to import, and 0.5 s beside mistral_common
    from gguf import GGUFWriter

MADE_BY = "dvc repro export adapt"
ALIGNMENT = 32  # bytes, of each tensor in the file
END_REMEDY = (
    "Name the token in train_tokenizer.roles of params.yaml, {eos: TOKEN}, and run: dvc repro; or write the id into "
    "the config.json of a model that others made"
)


@dataclass(frozen=True)
class _Stated:
    """The content of a folder's files of JSON: shape, context in tokens, ids of roles, tokenizer_config.json."""

    config: ModelConfig
    context: int
    roles: Mapping[str, int]
    tokenizer: Mapping[str, Any]


def convert(folder: Path, output: Path, *, add_bos: bool | None = None) -> Vocabulary:
    """Write the GGUF file of the model in `folder`, whole or not at all; returns its vocabulary.

    Arguments:
        folder: with config.json, model.safetensors, tokenizer_config.json and a SentencePiece BPE model. If it has a
            record of hashes, they are compared with it.
        output: the file to make, or to make anew.
        add_bos: whether <bos> begins each text; None takes what tokenizer_config.json says.

    Raises:
        UserError: a file is missing or altered, the model is no Llama that aura computes, or llama.cpp cannot read its
            tokenizer.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: expected the folder of a model, such as models/hf or models/chat. Run: {MADE_BY}")
    if output.is_dir():
        raise UserError(f"{output} is a folder: expected the name of a file to write, such as {output / GGUF}")
    read = vocabulary(folder)
    checksums.verify(folder, MADE_BY, required=False)
    config, context = read_config(folder, MADE_BY)
    _require_known_rope(folder / CONFIG, config)
    roles = _roles(folder / CONFIG, config.vocab_size)
    weights_file = folder / "model.safetensors"
    if not weights_file.exists():
        raise UserError(f"{weights_file} is missing: expected all weights in one file of this name. Run: {MADE_BY}")
    tensors = _tensors(weights_file, config)
    if len(read.texts) != config.vocab_size:
        raise UserError(
            f"{folder}: expected a tokenizer of {config.vocab_size:,} pieces, as config.json states, got "
            f"{len(read.texts):,}. Run: {MADE_BY}"
        )
    tokenizer = files.read_object(folder / hf_export.CONFIG, MADE_BY)
    tokenizer |= {} if add_bos is None else {"add_bos_token": add_bos}
    _write(output, _head(_Stated(config, context, roles, tokenizer), read, tensors), tensors)
    return read


def _require_known_rope(path: Path, config: ModelConfig) -> None:
    """Refuse a Qwen3 whose frequencies are stretched: llama.cpp would compute with those that are not."""
    if config.qk_norm and config.rope_factor != 1:
        raise UserError(
            f"{path}: rope_type: expected default for a Qwen3 in llama.cpp, got llama3. Use this model with Hugging "
            "Face transformers"
        )


def _roles(path: Path, vocab_size: int) -> dict[str, int]:
    """The ids of tokens with a role by their keys in config.json; without the one that ends a text, a `UserError`."""
    config = files.read_object(path, MADE_BY)
    if config.get("eos_token_id") is None:
        raise UserError(
            f"{path}: eos_token_id: expected the id that ends a text, got none: llama.cpp would take id 2. {END_REMEDY}"
        )
    roles = {
        key: config[key] for key in ("eos_token_id", "bos_token_id", "pad_token_id") if config.get(key) is not None
    }
    files.require_shape(path, roles, MADE_BY, **dict.fromkeys(roles, int))
    if outside := [f"{key}: {token}" for key, token in roles.items() if not 0 <= token < vocab_size]:
        raise UserError(f"{path}: expected ids from 0 to {vocab_size - 1:,}, got {outside[0]}. Run: {MADE_BY}")
    return roles


def _tensors(weights_file: Path, config: ModelConfig) -> Tensors:
    """The weights under llama.cpp's names, in its layout; each is read from the file when it is written."""
    import gguf

    try:
        shapes = tensor_file.shapes(weights_file)
    except SafetensorError as error:
        raise UserError(f"{weights_file}: expected a safetensors file ({error}). Run: {MADE_BY}") from None
    layers = config.layers
    expected = set() if layers > len(shapes) else _names(config)
    if expected != set(shapes):
        told = ", ".join(sorted(expected ^ set(shapes))[:3])
        raise UserError(
            f"{weights_file}: expected the tensors of a {NETWORKS[config.network]} of {layers:,} layers without "
            f"biases, as config.json states; missing or not expected: {told}. Run: {MADE_BY}"
        )
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[config.network.upper()], layers)
    tensors = {
        str(names.get_name(name, try_suffixes=(".weight",))): _arranged(weights_file, name, config)
        for name in sorted(shapes)
    }
    if config.rope_factor != 1:
        tensors["rope_freqs.weight"] = Tensor.whole(_frequency_factors(config))
    return tensors


def _names(config: ModelConfig) -> set[str]:
    """Hugging Face's names of all tensors."""
    names = {"model.embed_tokens.weight", "model.norm.weight"}
    names |= set() if config.tied_embeddings else {"lm_head.weight"}
    parts = (*MATRICES.values(), *scales_of(config).values())
    return names | {f"model.layers.{number}.{part}.weight" for number in range(config.layers) for part in parts}


def _arranged(weights_file: Path, name: str, config: ModelConfig) -> Tensor:
    """A tensor of the file; of a Llama's queries and keys with the rows of each head in llama.cpp's order."""
    tensor = tensor_file.stored(weights_file, name)
    for part, heads in (("q_proj", config.heads), ("k_proj", config.kv_heads)):
        if name.endswith(f".{part}.weight"):
            expected = (heads * config.head_width, config.width)
            if tensor.shape != expected:
                raise UserError(f"{weights_file}: {name}: expected the shape {expected}, got {tensor.shape}")
            return tensor if config.qk_norm else Tensor(tensor.shape, partial(_interleaved, tensor, heads))
    return tensor


def _interleaved(tensor: Tensor, heads: int) -> Iterator[Piece]:
    """The matrix whose heads have pair p in rows 2 p and 2 p + 1, of one that has it in rows p and p + width / 2."""
    matrix = tensor.read()
    rows, columns = matrix.shape
    halves_HxTxPxD = matrix.reshape(heads, 2, rows // heads // 2, columns)  # T: the two halves
    yield 0, np.ascontiguousarray(halves_HxTxPxD.swapaxes(1, 2)).reshape(rows, columns)


def _frequency_factors(config: ModelConfig) -> Array:
    """(P,) divisors of the frequencies of the pairs of a head, as Llama 3.1 stretches its context."""
    frequency_P = pair_frequencies(config.head_width, config.rope_base)
    return np.asarray(frequency_P / stretched(frequency_P, config), np.float32)


def _head(stated: _Stated, read: Vocabulary, tensors: Tensors) -> bytes:
    """The bytes of the file before the first tensor."""
    import gguf

    with tempfile.TemporaryDirectory() as folder:
        writer = gguf.GGUFWriter(Path(folder, GGUF), stated.config.network)
        _add_shape(writer, stated.config, stated.context)
        _add_tokenizer(writer, stated, read)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        for name, tensor in tensors.items():
            writer.add_tensor_info(name, tensor.shape, np.dtype(np.float32), 4 * tensor.size)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        return Path(folder, GGUF).read_bytes()


def _add_shape(writer: "GGUFWriter", config: ModelConfig, context: int) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_width)
    writer.add_value_length(config.head_width)
    writer.add_layer_norm_rms_eps(config.epsilon)
    writer.add_rope_dimension_count(config.head_width)
    writer.add_rope_freq_base(config.rope_base)


def _add_tokenizer(writer: "GGUFWriter", stated: _Stated, read: Vocabulary) -> None:
    """Add the vocabulary, the ids of its roles, and what tokenizer_config.json says of texts and chats."""
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(read.texts)
    writer.add_token_scores(read.scores)
    writer.add_token_types(read.types)
    writer.add_unk_token_id(read.unk_id)
    writer.add_eos_token_id(stated.roles["eos_token_id"])
    for name, add in (("bos_token_id", writer.add_bos_token_id), ("pad_token_id", writer.add_pad_token_id)):
        if name in stated.roles:
            add(stated.roles[name])
    begins = stated.tokenizer.get("add_bos_token") is True and "bos_token_id" in stated.roles
    writer.add_add_bos_token(begins)  # without an id llama.cpp would take 1
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(read.space_prefix)
    writer.add_remove_extra_whitespaces(False)
    if isinstance(template := stated.tokenizer.get("chat_template"), str):
        writer.add_chat_template(template)


def _write(output: Path, head: bytes, tensors: Tensors) -> None:
    """Write the head and the tensors, each at a multiple of ALIGNMENT."""
    with files.replaced_file(output) as file:
        file.write(head)
        begin = _aligned(len(head))
        for tensor in tensors.values():
            for place, piece in tensor.pieces():
                file.seek(begin + 4 * place)
                file.write(np.ascontiguousarray(piece, dtype="<f4").data)
            begin = _aligned(begin + 4 * tensor.size)
        file.truncate(begin)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT

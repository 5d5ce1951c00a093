"""A LlamaForCausalLM folder as one GGUF file, which llama.cpp and what is built on it run.

The file is made from the folder (models/hf, models/chat), so that both say the same. Weights stay float32: a model of
another precision or a quantised one is made of the file by llama.cpp's own llama-quantize. Tensors are copied in pieces
of 64 MB, except for the matrices of queries and keys: llama.cpp rotates neighbouring numbers of a head where
transformers rotates the numbers of its two halves, so their rows are put into the other order, a matrix at a time.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.export.gguf_vocabulary import Vocabulary, vocabulary
from aura.hugging_face.folder import GGUF
from aura.hugging_face.llama import MATRICES, SCALES, Array, Tensors
from aura.model import tensor_file
from aura.model.tensor_file import Piece, Tensor
from aura.tokenizer import hf_export

if TYPE_CHECKING:  # the library takes 0.1 s to import, and 0.5 s beside mistral_common
    from gguf import GGUFWriter

MADE_BY = "dvc repro export adapt"
ALIGNMENT = 32  # bytes, of each tensor in the file
LARGEST = 2**31 - 1
_COUNTS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
)


def convert(folder: Path, output: Path, *, add_bos: bool | None = None) -> Vocabulary:
    """Write the GGUF file of the model in `folder`, whole or not at all; returns its vocabulary.

    Arguments:
        folder: with config.json, model.safetensors, tokenizer_config.json and a SentencePiece BPE model. If it has a
            record of hashes, they are compared with it.
        output: the file to make, or to make anew.
        add_bos: whether <bos> begins each text; None takes what tokenizer_config.json says.

    Raises:
        UserError: a file is missing or altered, the model is no Llama, or llama.cpp cannot read its tokenizer.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: expected the folder of a model, such as models/hf or models/chat. Run: {MADE_BY}")
    if output.is_dir():
        raise UserError(f"{output} is a folder: expected the name of a file to write, such as {output / GGUF}")
    read = vocabulary(folder)
    checksums.verify(folder, MADE_BY, required=False)
    config = _config(folder / "config.json")
    weights_file = folder / "model.safetensors"
    if not weights_file.exists():
        raise UserError(f"{weights_file} is missing: expected all weights in one file of this name. Run: {MADE_BY}")
    tensors = _tensors(weights_file, config)
    if len(read.texts) != config["vocab_size"]:
        raise UserError(
            f"{folder}: expected a tokenizer of {config['vocab_size']:,} pieces, as config.json states, got "
            f"{len(read.texts):,}. Run: {MADE_BY}"
        )
    tokenizer = files.read_object(folder / hf_export.CONFIG, MADE_BY)
    tokenizer |= {} if add_bos is None else {"add_bos_token": add_bos}
    _write(output, _head(config, tokenizer, read, tensors), tensors)
    return read


def _config(path: Path) -> dict[str, Any]:
    """config.json of a Llama; another architecture, or sizes that no model has, are a `UserError`."""
    if not path.exists():
        raise UserError(f"{path} is missing: expected the folder of a model, such as models/hf. Run: {MADE_BY}")
    config = files.read_object(path, MADE_BY)
    if config.get("architectures") != ["LlamaForCausalLM"]:
        raise UserError(
            f"{path}: architectures: expected ['LlamaForCausalLM'], got {config.get('architectures')!r:.80}. "
            "Name models/hf or models/chat, which hold a model in this form"
        )
    files.require_shape(path, config, MADE_BY, rms_norm_eps=float, **dict.fromkeys(_COUNTS, int))
    if config.get("eos_token_id") is None:
        raise UserError(
            f"{path}: eos_token_id: expected the id that ends a text, got none: llama.cpp would take id 2. "
            "Write the id into config.json"
        )
    files.require_shape(path, config, MADE_BY, eos_token_id=int)
    sizes, heads = [config[name] for name in _COUNTS], config["num_attention_heads"]
    if min(sizes) < 1 or max(sizes) > LARGEST or heads % config["num_key_value_heads"]:
        raise UserError(f"{path}: expected sizes of 1 to {LARGEST:,}, and heads that key and value heads divide")
    config["head_dim"] = config.get("head_dim") or config["hidden_size"] // heads
    return config


def _tensors(weights_file: Path, config: Mapping[str, Any]) -> Tensors:
    """The weights under llama.cpp's names, in its layout; each is read from the file when it is written."""
    import gguf

    try:
        shapes = tensor_file.shapes(weights_file)
    except SafetensorError as error:
        raise UserError(f"{weights_file}: expected a safetensors file ({error}). Run: {MADE_BY}") from None
    layers = config["num_hidden_layers"]
    expected = set() if layers > len(shapes) else _names(layers, tied=config.get("tie_word_embeddings") is True)
    if expected != set(shapes):
        told = ", ".join(sorted(expected ^ set(shapes))[:3])
        raise UserError(
            f"{weights_file}: expected the tensors of a Llama of {layers:,} layers without biases, as config.json "
            f"states; missing or not expected: {told}. Run: {MADE_BY}"
        )
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    tensors = {
        str(names.get_name(name, try_suffixes=(".weight",))): _arranged(weights_file, name, config)
        for name in sorted(shapes)
    }
    if (factors := _frequency_factors(config)) is not None:
        tensors["rope_freqs.weight"] = Tensor.whole(factors)
    return tensors


def _names(layers: int, *, tied: bool) -> set[str]:
    """Llama's names of all tensors."""
    names = {"model.embed_tokens.weight", "model.norm.weight"} | (set() if tied else {"lm_head.weight"})
    parts = (*MATRICES.values(), *SCALES.values())
    return names | {f"model.layers.{number}.{part}.weight" for number in range(layers) for part in parts}


def _arranged(weights_file: Path, name: str, config: Mapping[str, Any]) -> Tensor:
    """A tensor of the file; of queries and keys with the rows of each head in llama.cpp's order."""
    tensor = tensor_file.stored(weights_file, name)
    for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
        if name.endswith(f".{part}.weight"):
            expected = (config[heads] * config["head_dim"], config["hidden_size"])
            if tensor.shape != expected:
                raise UserError(f"{weights_file}: {name}: expected the shape {expected}, got {tensor.shape}")
            return Tensor(tensor.shape, partial(_interleaved, tensor, config[heads]))
    return tensor


def _interleaved(tensor: Tensor, heads: int) -> Iterator[Piece]:
    """The matrix whose heads have pair p in rows 2 p and 2 p + 1, of one that has it in rows p and p + width / 2."""
    matrix = tensor.read()
    rows, columns = matrix.shape
    halves_HxTxPxD = matrix.reshape(heads, 2, rows // heads // 2, columns)  # T: the two halves
    yield 0, np.ascontiguousarray(halves_HxTxPxD.swapaxes(1, 2)).reshape(rows, columns)


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary positions, as transformers 5 states them (`rope_parameters`) or transformers 4."""
    stated = {"rope_type": "default", "rope_theta": config.get("rope_theta", 10_000.0)}
    return stated | (config.get("rope_scaling") or {}) | (config.get("rope_parameters") or {})


def _frequency_factors(config: Mapping[str, Any]) -> Array | None:
    """(P,) divisors of the frequencies of the pairs of a head, as Llama 3.1 stretches its context; None for 1.

    Frequencies whose wave is short against the context of the first training stay, those of long waves are divided by
    `factor`, and those between are mixed.
    """
    rope = _rope(config)
    kind = rope["rope_type"]
    if kind == "default":
        return None
    keys = ("rope_theta", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    if kind != "llama3" or not all(isinstance(rope.get(key), int | float) for key in keys):
        raise UserError(
            f"config.json: rope_parameters: expected the rope_type default, or llama3 with {', '.join(keys)}, got "
            f"{rope!r:.200}. Convert such a model with llama.cpp's own convert_hf_to_gguf.py"
        )
    theta, factor, low, high, context = (float(rope[key]) for key in keys)
    pairs = config["head_dim"] // 2
    turns_P = context * theta ** (-np.arange(pairs) / pairs) / (2 * math.pi)  # over the first context
    share_P = np.clip((turns_P - low) / (high - low), 0, 1)  # of the frequency as it is
    return np.asarray(1 / (share_P + (1 - share_P) / factor), np.float32)


def _head(config: Mapping[str, Any], tokenizer: Mapping[str, Any], read: Vocabulary, tensors: Tensors) -> bytes:
    """The bytes of the file before the first tensor."""
    import gguf

    with tempfile.TemporaryDirectory() as folder:
        writer = gguf.GGUFWriter(Path(folder, GGUF), "llama")
        _add_shape(writer, config)
        _add_tokenizer(writer, config, tokenizer, read)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        for name, tensor in tensors.items():
            writer.add_tensor_info(name, tensor.shape, np.dtype(np.float32), 4 * tensor.size)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        return Path(folder, GGUF).read_bytes()


def _add_shape(writer: "GGUFWriter", config: Mapping[str, Any]) -> None:
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(float(_rope(config)["rope_theta"]))


def _add_tokenizer(
    writer: "GGUFWriter", config: Mapping[str, Any], tokenizer: Mapping[str, Any], read: Vocabulary
) -> None:
    """Add the vocabulary, the ids of its roles, and what tokenizer_config.json says of texts and chats."""
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(read.texts)
    writer.add_token_scores(read.scores)
    writer.add_token_types(read.types)
    writer.add_unk_token_id(read.unk_id)
    writer.add_eos_token_id(config["eos_token_id"])
    for name, add in (("bos_token_id", writer.add_bos_token_id), ("pad_token_id", writer.add_pad_token_id)):
        if isinstance(config.get(name), int):
            add(config[name])
    writer.add_add_bos_token(tokenizer.get("add_bos_token") is True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(read.space_prefix)
    writer.add_remove_extra_whitespaces(False)
    if isinstance(template := tokenizer.get("chat_template"), str):
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

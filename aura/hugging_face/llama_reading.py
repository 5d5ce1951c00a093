"""The weights of a LlamaForCausalLM or Qwen3ForCausalLM folder under the names of `LanguageModel`.

Such folders are models/chat, models/hf, and those of others.

The inverse of the export. Where ours multiplies embeddings by sqrt(width), they lose the factor that Llama has inside
them, and a tied final norm gets it back; then weights return within one rounding of float32. The weights lie in one
file or in several with an index, in float32, bfloat16 or float16, and are read part by part, never a file at once.

The files may be anybody's. Before a number is read, the configuration, the index, and the names, shapes and types of
all tensors must fit each other; what the files claim is never made room for before that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
from safetensors import SafetensorError

from aura.core import checksums, files
from aura.core.errors import UserError
from aura.hugging_face.llama import HEAD_SCALES, MATRICES, Array, embedding_factor, scales_of
from aura.hugging_face.llama_settings import CONFIG, read_config, require_small
from aura.model import tensor_file
from aura.model.lora import INPUT_AXES
from aura.model.model import LanguageModel, ModelConfig, leaf_name

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
PADDING = 1024  # rows of a vocabulary, at most, that fill it up and belong to no token
TYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
EMBEDDING, HEAD, FINAL_NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"

Index = Sequence[slice]


@dataclass(frozen=True)
class LlamaWeights:
    """The weights of a folder, which are read when they are asked for.

    Attributes:
        folder: the place of the files.
        config: the shape; its vocabulary may have fewer rows than the tables in the files.
        context: tokens that the model reads at once.
        places: the file of each tensor, by Llama's names.
    """

    folder: Path
    config: ModelConfig
    context: int
    places: dict[str, Path]

    @classmethod
    def of(cls, folder: Path, made_by: str) -> "LlamaWeights":
        """Open a folder with config.json, and model.safetensors or model.safetensors.index.json.

        Arguments:
            folder: where it has a record of hashes (_SHA256SUMS), its files are compared with it.
            made_by: the command that makes such a folder, for messages.

        Raises:
            UserError: a file is missing, altered or damaged, or of another model than `LanguageModel` can be.
        """
        checksums.verify(folder, made_by, CONFIG, required=False)
        config, context = read_config(folder, made_by)
        places = _places(folder, made_by)
        for file in sorted({*places.values()}):
            checksums.verify(folder, made_by, file.name, required=False)
        _check_tensors(folder, places, config, made_by)
        return cls(folder, config, context, places)

    def files(self) -> list[Path]:
        """All files that decide the model, by name."""
        index = [self.folder / INDEX] if (self.folder / ONE_FILE) not in self.places.values() else []
        return sorted({self.folder / CONFIG, *index, *self.places.values()})

    def with_rows(self, rows: int) -> "LlamaWeights":
        """The same with the first rows of its vocabulary alone."""
        return replace(self, config=replace(self.config, vocab_size=rows))

    def part(self, name: str, index: Index) -> Array:
        """The numbers of a weight of ours at `index`, a slice of each axis; float32.

        A matrix has inputs first, and layers are stacked. Beside the part, one layer's part is in memory.
        """
        root = embedding_factor(self.config)
        if name == "embedding":
            return self._read(EMBEDDING, index) / root
        if name == "head":
            return self._read(HEAD, index)
        if name == "final_norm":
            return self._read(FINAL_NORM, index) * (root if self.config.tied_embeddings else np.float32(1))
        of_block, ours = index[1:], name.removeprefix("blocks.")
        numbers = range(*index[0].indices(self.config.layers))
        shape = [len(range(*one.indices(size))) for one, size in zip(of_block, self._shape(ours), strict=True)]
        stacked = np.empty((len(numbers), *shape), np.float32)
        for place, number in enumerate(numbers):
            theirs = _of_layer(number, MATRICES.get(ours) or scales_of(self.config)[ours])
            stacked[place] = self._matrix(ours, theirs, of_block).reshape(shape)
        return stacked

    def _matrix(self, ours: str, theirs: str, index: Index) -> Array:
        """A layer's weight at `index` of ours; there, outputs come first, and heads and features are one axis."""
        if ours not in MATRICES:
            return self._read(theirs, index)
        inputs, shape = INPUT_AXES[ours], self._shape(ours)
        rows = _flat(index[inputs:], shape[inputs:])
        return self._read(theirs, (rows, _flat(index[:inputs], shape[:inputs]))).T

    def _shape(self, ours: str) -> tuple[int, ...]:
        """The shape of a weight in one layer of ours."""
        D, E, F = self.config.width, self.config.head_width, self.config.hidden
        heads = {"query": self.config.heads, "key": self.config.kv_heads, "value": self.config.kv_heads}
        if ours in heads:
            return (D, heads[ours], E)
        if ours in HEAD_SCALES:
            return (E,)
        return {"output": (self.config.heads, E, D), "gate": (D, F), "up": (D, F), "down": (F, D)}.get(ours, (D,))

    def _read(self, theirs: str, index: Index) -> Array:
        rows = {EMBEDDING: self.config.vocab_size, HEAD: self.config.vocab_size}
        if theirs in rows:  # of a table that has more of them
            index = (slice(*index[0].indices(rows[theirs])), *index[1:])
        found = tensor_file.part(self.places[theirs], theirs, tuple(index))
        return found.astype(np.float32, copy=False)


def read(folder: Path, made_by: str, vocab_size: int | None = None) -> tuple[LanguageModel, int]:
    """The model of a folder, on one device, and its context in tokens.

    Arguments:
        folder: as `LlamaWeights.of` takes it.
        made_by: the command that makes such a folder, for messages.
        vocab_size: of its tokenizer; up to `PADDING` rows beyond belong to no token, and are left out.

    Raises:
        UserError: a file is missing, altered or of another model than `LanguageModel` can be.
    """
    opened = LlamaWeights.of(folder, made_by)
    if vocab_size is not None and 0 < opened.config.vocab_size - vocab_size <= PADDING:
        opened = opened.with_rows(vocab_size)
    shapes: LanguageModel = jax.eval_shape(lambda: LanguageModel(opened.config, seed=0))
    model: LanguageModel = jax.tree_util.tree_map_with_path(
        lambda place, leaf: jax.numpy.asarray(opened.part(leaf_name(place), [slice(None)] * leaf.ndim)), shapes
    )
    return model, opened.context


def _places(folder: Path, made_by: str) -> dict[str, Path]:
    """The file of each tensor that the folder says it has."""
    one, index = folder / ONE_FILE, folder / INDEX
    if one.exists() or not index.exists():
        return dict.fromkeys(_tensors(one, made_by), one)
    require_small(index)
    named = files.read_object(index, made_by, weight_map={str: str})["weight_map"]
    for file in sorted({*named.values()}):
        if Path(file).name != file or not file.endswith(".safetensors") or "\0" in file:
            raise UserError(
                f"{index}: expected names of .safetensors files in this folder, got {file!r:.80}. Do not use this model"
            )
    found = {file: _tensors(folder / file, made_by) for file in sorted({*named.values()})}
    if lost := sorted(name for name, file in named.items() if name not in found[file]):
        raise UserError(f"{folder / named[lost[0]]}: expected the tensor {lost[0]:.80}, which {index} says it has")
    return {name: folder / file for name, file in named.items()}


def _tensors(file: Path, made_by: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of the tensors of a file, by name."""
    try:
        tensor_file.require_bounded(file)
        return tensor_file.described(file)
    except FileNotFoundError:
        raise UserError(
            f"{file} is missing: expected all weights in {ONE_FILE}, or in files that {INDEX} names. It is written by: "
            f"{made_by}"
        ) from None
    except (SafetensorError, ValueError, OverflowError) as error:
        told = " ".join(str(error).split())
        raise UserError(f"{file}: expected a safetensors file ({told:.300}). Make it again with: {made_by}") from None


def _check_tensors(folder: Path, places: dict[str, Path], config: ModelConfig, made_by: str) -> None:
    """Compare names, shapes and types of the tensors with what the configuration asks for."""
    by_file = {file: _tensors(file, made_by) for file in {*places.values()}}
    got = {name: by_file[file][name] for name, file in places.items() if not _is_needless(name, config)}
    file = folder / (ONE_FILE if (folder / ONE_FILE) in by_file else INDEX)
    if len(got) < config.layers:  # before the names of so many layers fill the memory
        raise UserError(
            f"{file} does not fit its config.json: expected tensors of {config.layers:,} layers, got {len(got):,} "
            f"tensors. Make it again with: {made_by}"
        )
    expected, shapes = _shapes(config), {name: shape for name, (_, shape) in got.items()}
    if shapes != expected:
        wrong = sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
        told = "; ".join(f"{name:.80}: expected {expected.get(name)}, got {shapes.get(name)}" for name in wrong[:3])
        raise UserError(f"{file} does not fit its config.json: {told}. Make it again with: {made_by}")
    if strange := sorted(name for name, (kind, _) in got.items() if kind not in TYPES):
        raise UserError(
            f"{places[strange[0]]}: {strange[0]}: expected numbers in {', '.join(TYPES.values())}, got "
            f"{got[strange[0]][0]}. Use the model as it was before it was quantised"
        )


def _is_needless(name: str, config: ModelConfig) -> bool:
    """Return whether a tensor repeats what others say: frequencies, or the output weights of tied embeddings."""
    return name.endswith(".rotary_emb.inv_freq") or (config.tied_embeddings and name == HEAD)


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Llama's names and shapes of all tensors."""
    D, E = config.width, config.head_width
    rows = {"query": config.heads * E, "key": config.kv_heads * E, "value": config.kv_heads * E, "output": D}
    rows |= {"gate": config.hidden, "up": config.hidden, "down": D}
    columns = {"output": config.heads * E, "down": config.hidden}
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, D), FINAL_NORM: (D,)}
    if not config.tied_embeddings:
        shapes[HEAD] = (config.vocab_size, D)
    for number in range(config.layers):
        for ours, theirs in MATRICES.items():
            shapes[_of_layer(number, theirs)] = (rows[ours], columns.get(ours, D))
        shapes |= {
            _of_layer(number, theirs): (E if ours in HEAD_SCALES else D,) for ours, theirs in scales_of(config).items()
        }
    return shapes


def _of_layer(number: int, name: str) -> str:
    return f"model.layers.{number}.{name}.weight"


def _flat(index: Index, shape: tuple[int, ...]) -> slice:
    """Slices of some axes as one of the axis that they are together; only the first may be a part."""
    begin, end, _ = index[0].indices(shape[0])
    inner = int(np.prod(shape[1:], dtype=np.int64))
    for one, size in zip(index[1:], shape[1:], strict=True):
        assert one.indices(size) == (0, size, 1)  # noqa: S101 - a mesh cuts heads, and never their features
    return slice(begin * inner, end * inner)

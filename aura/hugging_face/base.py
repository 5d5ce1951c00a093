"""Existing weights that a run of pretraining begins from: `pretrain.from`.

The base decides the shape of the model; the tokenizer decides its vocabulary. Where the tokenizer extends that of the
base, a new row of the tables begins as the mean of the rows that spell its piece in the base (arXiv:2407.05841). Each
device reads its own part of each weight, so neither a host nor a device holds the whole.

A tokenizer of equal size may still be another one, and the model would then learn its vocabulary anew without a word of
it. So the tokenizer's files beside the base are compared wherever both sides have one.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from aura.core import checksums, files, hub_address
from aura.core.errors import UserError
from aura.core.terms import EMOTIONS
from aura.hugging_face import hub_weights
from aura.hugging_face.llama import Array
from aura.hugging_face.llama_reading import PADDING, LlamaWeights
from aura.hugging_face.llama_settings import read_config, require_small
from aura.model import tensor_file, weights
from aura.model.model import LanguageModel, ModelConfig, leaf_name
from aura.tokenizer import adopted_record, opening
from aura.tokenizer.adopted import AdoptedTokenizer, encoding_hash
from aura.tokenizer.adopted_record import INSIDE
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.tokenizer import Tokenizer

OPTION = "pretrain.from"
MADE_BY = "the program that saved it"
FORMAT = 1  # of extended.json
TABLES = ("embedding", "head")

Match = Literal["the run's", "what it extends"] | None  # the base's tokenizer; None where nothing says so
Index = Sequence[slice]
Part = Callable[[str, Index], Array]  # the numbers of a weight of ours, by its name, at a slice of each axis


@dataclass(frozen=True)
class Extension:
    """A vocabulary that grew: models/spm/extended.json.

    Attributes:
        base_size: ids of the base's tokenizer, which come first.
        spelt: of each further id, the ids of the base that spell it.
        sha256: of the file.
    """

    base_size: int
    spelt: list[list[int]]
    sha256: str

    @classmethod
    def of(cls, tokenizer_folder: Path, vocab_size: int) -> "Extension | None":
        """Read the folder's extended.json; None without one."""
        path, made_by = tokenizer_folder / adopted_record.EXTENDED, "dvc repro train_tokenizer"
        if not path.exists():
            return None
        checksums.verify(tokenizer_folder, made_by, path.name, required=False)
        read = files.read_format(path, made_by, FORMAT, base_vocab_size=int, spelt=[[int]])
        base_size, spelt = read["base_vocab_size"], read["spelt"]
        right = base_size >= 1 and base_size + len(spelt) == vocab_size
        if not right or not all(ids and min(ids) >= 0 and max(ids) < base_size for ids in spelt):
            raise UserError(
                f"{path}: expected for each of {vocab_size - base_size:,} new ids some ids below {base_size:,}, got "
                f"{len(spelt):,} lists. {checksums.remedy(made_by)}"
            )
        return cls(base_size, spelt, files.sha256_file(path))


@dataclass(frozen=True)
class Files:
    """The content of a base's folder, in either form.

    Attributes:
        config: the shape, with the base's own vocabulary.
        context: tokens that it reads at once.
        read: the files that decide it.
        part: reads weights.
        tokenizer: hash of its tokenizer as models/lm records it; None for a Llama.
    """

    config: ModelConfig
    context: int
    read: list[Path]
    part: Part
    tokenizer: str | None = None


@dataclass(frozen=True)
class Base:
    """The weights that a run begins from, for one tokenizer.

    Attributes:
        config: the shape of the model to train.
        context: tokens that the base reads at once.
        sha256: the hash of all files that decide the base.
        part: reads weights of the model to train.
        decides: what decides the first weights, for the identity of the run.
        notes: what happened to the vocabulary, for the user.
    """

    config: ModelConfig
    context: int
    sha256: str
    part: Part
    decides: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def record(self) -> dict[str, Any]:
        """The base as models/lm tells it."""
        return {"sha256": self.sha256, "context": self.context}

    def model(self, shapes: LanguageModel) -> LanguageModel:
        """The model on its devices.

        Arguments:
            shapes: shape and place of each weight (`mesh.abstract`).
        """

        def placed_leaf(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:  # noqa: ANN401 - a key path of JAX
            return jax.make_array_from_callback(leaf.shape, leaf.sharding, partial(self.part, leaf_name(path)))

        made: LanguageModel = jax.tree_util.tree_map_with_path(placed_leaf, shapes)
        return made


def config_of(where: str, vocab_size: int, *, affect: bool) -> ModelConfig:
    """The shape of a model that begins from a base; no weight is read, and of hf:// the configuration alone fetched."""
    folder = _folder(where, only_config=True)
    return replace(_config_in(folder)[0], vocab_size=vocab_size, affect=affect)


def open_base(where: str, tokenizer: AnyTokenizer, tokenizer_folder: Path, *, affect: bool) -> Base:
    """Open the base that `pretrain.from` names, and hash its files.

    Arguments:
        where: a folder, or hf://ORG/NAME@REVISION, which is downloaded unless the Hub's cache has it.
        tokenizer: of the run.
        tokenizer_folder: its files.
        affect: whether the model is told affect vectors; the base need not have been.

    Raises:
        UserError: the base is missing, damaged, not a Llama that `LanguageModel` computes, or of another tokenizer.
    """
    folder = _folder(where)
    found, vocab_size = _files_in(folder), tokenizer.vocab_size
    extension = Extension.of(tokenizer_folder, vocab_size)
    match = _matching(folder, found.tokenizer, tokenizer, tokenizer_folder, extended=extension is not None)
    of_what_it_extends = match == "what it extends" or (match is None and found.config.vocab_size != vocab_size)
    grown = extension if of_what_it_extends else None
    _require_rows(folder, found.config.vocab_size, grown.base_size if grown else vocab_size, same=match is not None)
    config = replace(found.config, vocab_size=vocab_size, affect=affect)
    digests = {path.name: files.sha256_file(path) for path in found.read}
    sha256 = hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()).hexdigest()
    decides = {"the base": sha256} | ({"the spelling of new pieces": grown.sha256} if grown else {})
    part = partial(_part, found, config, grown)
    return Base(config, found.context, sha256, part, decides, _notes(folder, found, config, extension, grown, match))


def require_mesh(config: ModelConfig, fsdp: int, tensor: int) -> None:
    """Refuse a mesh that cannot cut a model of this shape evenly."""
    if config.kv_heads % tensor or config.hidden % tensor or config.width % fsdp:
        raise UserError(
            f"params.yaml: expected pretrain.tensor ({tensor}) to divide the base's kv_heads ({config.kv_heads}) and "
            f"hidden ({config.hidden}), and pretrain.fsdp ({fsdp}) its width ({config.width}). Lower them"
        )


def local_files(where: str) -> list[Path]:
    """The files of a base on this machine, for the pod that trains on them; none of hf://, which it fetches itself."""
    if hub_address.is_address(where):
        return []
    folder = _folder(where)
    sums = [folder / checksums.NAME] if (folder / checksums.NAME).is_file() else []
    return _files_in(folder).read + _tokenizers_in(folder) + sums


def _folder(where: str, *, only_config: bool = False) -> Path:
    if hub_address.is_address(where):
        return hub_weights.download(where, only_config=only_config)
    if not Path(where).is_dir():
        raise UserError(
            f"params.yaml: {OPTION}: expected the folder of a model or hf://ORG/NAME@REVISION, found no folder {where}"
        )
    return Path(where)


def _config_in(folder: Path) -> tuple[ModelConfig, int, dict[str, Any] | None]:
    """Shape and context; and the record of a model of ours, which a Llama has not."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{OPTION}: expected a model in {folder}, but it has no config.json. Name another folder")
    require_small(path)
    if "architectures" not in files.read_object(path, MADE_BY):
        record = weights.config(folder, tokenizer=str, seq_len=int)
        config = weights.shape_of(record["model"], path, weights.MADE_BY)
        return config, weights.context_of(record), record
    return *read_config(folder, MADE_BY), None


def _files_in(folder: Path) -> Files:
    config, context, record = _config_in(folder)
    if record is None:
        llama = LlamaWeights.of(folder, MADE_BY)
        return Files(llama.config, llama.context, llama.files(), llama.part)
    file = weights.checked(folder)

    def part(name: str, index: Index) -> Array:
        return tensor_file.part(file, name, tuple(index))

    return Files(config, context, [folder / "config.json", file], part, record["tokenizer"])


def _tokenizers_in(folder: Path) -> list[Path]:
    return [folder / name for name in INSIDE if (folder / name).is_file()]


def _matching(
    folder: Path, recorded: str | None, tokenizer: AnyTokenizer, tokenizer_folder: Path, *, extended: bool
) -> Match:
    """Return whether the base's tokenizer is the run's or the one that it extends.

    Raises:
        UserError: it is another one: models/lm has its hash, or a file of the same kind lies beside the base.
    """
    theirs = {path: files.sha256_file(path) for path in _tokenizers_in(folder)}
    original = _original(tokenizer_folder, extended=extended)
    named = {recorded, *theirs.values(), *_hashes_in(folder)}
    if named & {tokenizer.encoding_sha256, *map(files.sha256_file, _tokenizers_in(tokenizer_folder))}:
        return "the run's"
    originals = _hashes(original) if original else set()
    if original and isinstance(tokenizer, AdoptedTokenizer):
        originals.add(encoding_hash(files.sha256_file(original), tokenizer.roles))
    if named & originals:
        return "what it extends" if extended else "the run's"
    rivals = [digest for path, digest in theirs.items() if original and path.suffix == original.suffix]
    if original and (recorded or rivals):
        raise UserError(
            f"{OPTION}: {folder} was trained on another tokenizer (SHA-256 {(recorded or rivals[0])[:16]}…) than "
            f"{original} ({files.sha256_file(original)[:16]}…). Adopt the base's own: train_tokenizer.from"
        )
    return None


def _original(tokenizer_folder: Path, *, extended: bool) -> Path | None:
    """The file that a tokenizer was adopted from, or that it extends; the others of its folder are made of it."""
    if extended:
        names = [*adopted_record.BASES]
    elif adopted_record.is_adopted(tokenizer_folder):
        names = [adopted_record.read_record(tokenizer_folder)["file"]]
    else:
        names = [opening.MODEL]
    return next((tokenizer_folder / name for name in names if (tokenizer_folder / name).is_file()), None)


def _hashes_in(folder: Path) -> set[str]:
    """The hashes of the spiece.model of a folder; none without one."""
    file = folder / opening.MODEL
    return _hashes(file) if file.is_file() else set()


def _hashes(file: Path) -> set[str]:
    """The hash of a tokenizer's file; of one of ours also that of its encoding, which names of slots leave alone."""
    try:
        own = {Tokenizer(file).encoding_sha256}
    except UserError:  # it is none of ours
        own = set()
    return own | {files.sha256_file(file)}


def _require_rows(folder: Path, rows: int, wanted: int, *, same: bool) -> None:
    """Refuse a base whose rows cannot be those of the tokenizer."""
    if rows < wanted or (rows > wanted + PADDING and not same):
        raise UserError(
            f"{OPTION}: {folder} has {rows:,} rows of embeddings, and the tokenizer has {wanted:,} ids for them. "
            f"Expected as many rows as ids, or up to {PADDING:,} more. Adopt the base's own tokenizer: "
            "train_tokenizer.from"
        )


def _notes(
    folder: Path,
    found: Files,
    config: ModelConfig,
    extension: Extension | None,
    grown: Extension | None,
    match: Match,
) -> list[str]:
    """Notes for the user about the first weights."""
    kept, notes = grown.base_size if grown else config.vocab_size, []
    if match is None:
        notes.append(f"no file in {folder} says which tokenizer it was trained on; only its size was compared")
    if match is None and extension:
        taken = "the one that models/spm extends" if grown else "the extended one"
        notes.append(f"by its size, its tokenizer is taken for {taken}. If it is not, put its file into {folder}")
    if found.config.vocab_size > kept:
        notes.append(f"{found.config.vocab_size - kept:,} rows of the base belong to no token, and are left out")
    if grown:
        notes.append(f"{len(grown.spelt):,} new rows begin as the mean of the base's rows that spell them")
    if found.config.affect and not config.affect:
        notes.append("the base's weights for affect vectors are left out (pretrain.affect_conditioning: false)")
    return notes


def _part(found: Files, config: ModelConfig, grown: Extension | None, name: str, index: Index) -> Array:
    """A part of a weight of the model to train."""
    if name == "affect" and not found.config.affect:
        whole = np.broadcast_to(np.float32(0), (len(EMOTIONS), config.width))
        return whole[tuple(index)]
    if name not in TABLES:
        return found.part(name, index)
    begin, end, _ = index[0].indices(config.vocab_size)
    if grown is None or end <= grown.base_size:
        return found.part(name, (slice(begin, end), index[1]))
    fresh = _means(found, grown, name, index[1], range(max(begin, grown.base_size), end))
    if begin >= grown.base_size:
        return fresh
    return np.concatenate([found.part(name, (slice(begin, grown.base_size), index[1])), fresh])


def _means(found: Files, grown: Extension, name: str, columns: slice, new: range) -> Array:
    """Rows of new ids, some columns of them: the mean of the base's rows that spell each.

    The base's table is read once, in pieces of `tensor_file.PIECE` bytes; sums are float64.
    """
    width = len(range(*columns.indices(found.config.width)))
    spelt = [grown.spelt[token - grown.base_size] for token in new]
    places = np.repeat(np.arange(len(new)), [len(ids) for ids in spelt])
    ids = np.concatenate([np.array(some, np.int64) for some in spelt]) if spelt else np.empty(0, np.int64)
    order = np.argsort(ids, kind="stable")
    ids, places = ids[order], places[order]
    sums = np.zeros((len(new), width))
    for start, stop in tensor_file.row_ranges((grown.base_size, width)):
        of_piece = slice(*np.searchsorted(ids, (start, stop)))
        if of_piece.start < of_piece.stop:
            piece = found.part(name, (slice(start, stop), columns))
            np.add.at(sums, places[of_piece], piece[ids[of_piece] - start])
    counts = np.array([len(some) for some in spelt])[:, None]
    means: Array = (sums / counts).astype(np.float32)
    return means

"""`SelfTeachingAdapter`: a pretrained model learns to answer, under the names that users know.

It is the stage `adapt` on one file of conversations: the same recognition of shapes, objective, slow teacher and files.
The work lies in .aura/self_teaching, by the hash of all that decides it, so an interrupted run goes on. A second
training begins from the model that the first one left.
"""

import itertools
import shutil
from pathlib import Path
from typing import Any

from aura.adapt.adapt import Adapted, Inputs, Metrics, adapt, require_kept
from aura.adapt.facts import facts
from aura.adapt.options import Adapt
from aura.adapt.stage import machine_here
from aura.chat.dialogue import Dialogue
from aura.conversations import building
from aura.conversations.options import Conversations
from aura.core import checksums, console, files, keys, paths
from aura.core.errors import UserError
from aura.core.section import checked
from aura.hugging_face import loading, peft_adapter
from aura.hugging_face.adapted_models import Outputs, write_models
from aura.hugging_face.folder import Trained
from aura.hugging_face.llama_settings import LLAMA
from aura.hugging_face.loading import Loaded
from aura.model import weights
from aura.one_shot import other_options
from aura.project import whole_params
from aura.project.whole_params import Params
from aura.training.answers import Answerer, Drawing

WORK = Path(".aura/self_teaching")
HUGGING_FACE = paths.HUGGING_FACE_MODEL  # where PEFT finds the base of a first adapter
OUTPUTS = (paths.LANGUAGE_MODEL, paths.TOKENIZER, paths.HUGGING_FACE_MODEL, paths.ADAPTER, paths.CHAT_MODEL)
SOURCE = "instructions"  # the only source of such a set


class SelfTeachingAdapter:
    """A language model that learns from instructions, and from its own answers to them.

    Arguments:
        spm_model_path: the tokenizer, a spiece.model with its files beside it.
        model_path: the pretrained model (models/lm), or one that was saved before.
        tokens_path: what `encode` wrote of the pretraining text; its held-out part shows what is forgotten.
        options: of the system that this name is from; each is told, and changes nothing.

    Attributes:
        metrics: what the last training achieved; None before it.

    Raises:
        UserError: a folder is missing, altered or another tokenizer's, or an option is unknown.
    """

    def __init__(
        self,
        spm_model_path: str | Path = paths.TOKENIZER_MODEL,
        model_path: str | Path = paths.LANGUAGE_MODEL,
        *,
        tokens_path: str | Path = paths.TOKENS,
        **options: object,
    ) -> None:
        other_options.told(options, type(self).__name__)
        self._tokenizer_file, self._tokens = Path(spm_model_path), Path(tokens_path)
        self._folder = Path(model_path)  # of the model as it is now
        self._loaded = loading.load(self._folder, self._tokenizer_file)
        self.metrics: Metrics | None = None
        self._conversations: Path | None = None

    def train_instruct_from_jsonl(
        self,
        jsonl_path: str | Path,
        steps: int | None = None,
        lr: float | None = None,
        max_len: int | None = None,
        batch_size: int | None = None,
        limit: int | None = None,
        **options: object,
    ) -> Metrics:
        """Learn to answer as the records of a file do; docs/conversations.md has the shapes of records.

        Arguments:
            jsonl_path: .jsonl or .json, also compressed; or a folder of such files.
            steps: optimiser steps; like every option, left out it comes from the section adapt of params.yaml.
            lr: the learning rate at its peak.
            max_len: has no meaning of its own: a window has as many tokens as in pretraining.
            batch_size: windows per step.
            limit: at most so many records of one .jsonl file, from the first on.
            options: other keys of the section adapt, such as rank=16 or teacher_weight=0. The gate max_forgetting of
                params.yaml is not applied; one that is given here is.

        Raises:
            UserError: no record is a conversation, an option has a wrong value, the loss diverged, or more was
                forgotten than the max_forgetting that is given.
        """
        if max_len is not None and max_len != self._loaded.context:
            console.err.print(
                f"note: max_len changes nothing: a window has {self._loaded.context} tokens, as in pretraining "
                "(pretrain.seq_len). A longer conversation is cut behind an answer."
            )
        given = {"steps": steps, "learning_rate": lr, "batch_size": batch_size} | options
        return self._train(Path(jsonl_path), limit, given)

    def teach_self(
        self,
        jsonl_path: str | Path | None = None,
        steps: int | None = None,
        limit: int | None = None,
        **options: object,
    ) -> Metrics:
        """Let the model answer the prompts itself, and learn where a teacher that sees the reference knows better.

        On-policy self-distillation (arXiv:2601.19897), `adapt.teach: own`. Models of some billion parameters gain by
        it; smaller ones may lose.

        Arguments:
            jsonl_path: as in `train_instruct_from_jsonl`; left out, the records that were learnt from last.
            steps: optimiser steps, of which one in `own_every` learns from own answers.
            limit: as there.
            options: as there.
        """
        if jsonl_path is None and self._conversations is None:
            raise UserError("teach_self: expected a file of records, got none: teach_self('data.jsonl')")
        return self._train(
            None if jsonl_path is None else Path(jsonl_path), limit, {"steps": steps, **options}, own=True
        )

    def generate(
        self,
        prompt: str,
        max_new_tokens: int = 128,
        temperature: float = 0.8,
        top_p: float = 1.0,
        *,
        seed: int = 0,
        system: str | None = None,
    ) -> str:
        """The model's answer to one message; the same arguments give the same answer.

        Raises `UserError` if the message does not fit into what the model reads, or a number is out of its range.
        """
        _require_drawable(max_new_tokens, temperature, top_p, seed)
        tokenizer, context = self._loaded.tokenizer, self._loaded.context
        ids = Dialogue(tokenizer, context, max_new_tokens, system).prompt(prompt).ids
        drawn = Answerer(self._loaded.model, context, Drawing(temperature, top_p, seed)).answer(ids, max_new_tokens)
        answer = itertools.takewhile(lambda token: not tokenizer.is_special(token), drawn)
        return tokenizer.incremental_decoder().decode([*answer], final=True)

    def save(self, folder: str | Path) -> Path:
        """Write the adapted model as a folder for transformers and `aura chat --model FOLDER`; returns its path.

        Raises `UserError` before any training: there is nothing to save beside the model that was loaded.
        """
        if self.metrics is None:
            raise UserError("save: nothing was learnt yet. Call train_instruct_from_jsonl, then save")
        target = Path(folder)
        require_free(target)
        with files.replaced_folder(target) as unfinished:
            for file in sorted(self._folder.iterdir()):
                shutil.copyfile(file, unfinished / file.name)
        return target

    @classmethod
    def load(
        cls,
        folder: str | Path,
        spm_model_path: str | Path | None = None,
        *,
        tokens_path: str | Path = paths.TOKENS,
        **options: object,
    ) -> "SelfTeachingAdapter":
        """The adapter that `save` wrote, or models/chat."""
        own = Path(folder, "spiece.model")
        tokenizer = spm_model_path or (own if own.exists() else paths.TOKENIZER_MODEL)
        other_options.told(options, cls.__name__)
        return cls(tokenizer, folder, tokens_path=tokens_path)

    def _train(self, data: Path | None, limit: int | None, given: dict[str, Any], *, own: bool = False) -> Metrics:
        options, settings = _options(given, own=own)
        if data is not None:
            self._conversations = _conversations(data, limit, self._tokenizer_file, settings)
        assert self._conversations is not None  # noqa: S101 - teach_self has refused it
        set_sha256 = files.sha256_file(self._conversations / "manifest.json")
        base_sha256 = files.sha256_file(_weights_of(self._folder))
        work = WORK / keys.action_key(options.model_dump(mode="json"), set_sha256, base_sha256)
        base_folder = _as_pretrained(self._folder, self._loaded, work / "base")
        base = Trained.of(base_folder, self._tokenizer_file.parent)
        outputs = Outputs(work / "adapter", work / "chat", str(self._folder if self._loaded.adapted else HUGGING_FACE))

        def write(adapted: Adapted) -> None:
            told = facts(adapted.metrics)
            write_models(adapted.trained, base, told, outputs, add_bos=settings.encode.add_bos)

        inputs = Inputs(self._conversations, base_folder, self._tokenizer_file, self._tokens)
        try:
            self.metrics = adapt(inputs, work / "reports", options, machine_here(settings.pretrain), write)
        finally:
            files.remove(work / "base")  # a copy, where there is one
        if "max_forgetting" in given:
            require_kept(self.metrics, options)
        self._folder = outputs.chat
        self._loaded = loading.load(self._folder, self._tokenizer_file)
        return self.metrics


def require_free(target: Path) -> None:
    """Raise `UserError` for a folder that holds what `save` did not write."""
    is_free = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    if target.resolve() in {output.resolve() for output in OUTPUTS}:
        raise UserError(f"save: {target} is an output of the pipeline. Name another folder, such as models/answering")
    if not is_free and not _is_saved(target):
        raise UserError(f"save: expected a new folder, or one of an earlier save; {target} holds other files")


def _is_saved(folder: Path) -> bool:
    """Return whether a folder holds a model in the form that `save` writes, with its record of hashes."""
    if not (folder / checksums.NAME).exists():
        return False
    try:
        record = files.read_json(folder / "config.json", "save")
    except UserError:
        return False
    return isinstance(record, dict) and record.get("architectures") == [LLAMA]


def _weights_of(folder: Path) -> Path:
    """Return the file of weights of a model, or of an adapter."""
    adapter = folder / peft_adapter.WEIGHTS
    return adapter if adapter.exists() else folder / "model.safetensors"


def _options(given: dict[str, Any], *, own: bool) -> tuple[Adapt, Params]:
    """Section adapt with what was asked for; options of another system are told, and left out."""
    settings = whole_params.load_or_defaults()
    asked = {name: value for name, value in given.items() if value is not None}
    other_options.told([name for name in asked if name not in Adapt.model_fields], "SelfTeachingAdapter")
    asked = {name: value for name, value in asked.items() if name in Adapt.model_fields}
    values = settings.adapt.model_dump() | {"where": "local"} | asked | ({"teach": "own"} if own else {})
    if values["where"] == "tpu":
        raise UserError("SelfTeachingAdapter: where: this class adapts on this machine. For a pod: dvc repro adapt")
    return checked(Adapt, values, "adapt"), settings


def _require_drawable(tokens: int, temperature: float, top_p: float, seed: int) -> None:
    """Raise `UserError` for a number with which nothing can be drawn."""
    ranges = {
        "max_new_tokens": (tokens >= 1, "1 or more", tokens),
        "temperature": (temperature >= 0, "0 or more", temperature),
        "top_p": (0 < top_p <= 1, "more than 0 and at most 1", top_p),
        "seed": (0 <= seed < 2**32, "0 to 4294967295", seed),
    }
    for name, (fits, expected, got) in ranges.items():
        if not fits:
            raise UserError(f"generate: {name}: expected {expected}, got {got}")


def _conversations(data: Path, limit: int | None, tokenizer_file: Path, settings: Params) -> Path:
    """Make the set of conversations of a file or a folder; it takes the place of the last one of the same name."""
    if not data.exists():
        raise UserError(f"{data}: no such file or folder. Name a .jsonl file with a conversation in each line")
    tokenizer = files.sha256_file(tokenizer_file)
    work = WORK / "conversations" / keys.action_key(str(data.absolute()), limit, tokenizer)
    source = data if limit is None else _first_records(data, limit, work / "records" / data.name)
    reading = {"kind": "json", "path": str(source)}
    section = settings.conversations.model_dump() | {"sources": {SOURCE: reading}}
    chosen = checked(Conversations, section, str(data))
    building.build(chosen, tokenizer_file.parent, Path(settings.extract.lexicon), work / "set")
    return work / "set"


def _first_records(data: Path, limit: int, target: Path) -> Path:
    """A copy of the first records of a .jsonl file, with its blank lines, so that the numbers of lines are the same."""
    if data.suffix != ".jsonl" or not data.is_file():
        raise UserError(f"limit: expected one .jsonl file, with a record in each line; got {data}")
    if limit < 2:
        raise UserError(f"limit: expected at least 2 records, one to learn from and one to measure on; got {limit}")
    with data.open("rb") as lines, files.replaced_file(target) as copy:
        for line in lines:
            copy.write(line)
            limit -= bool(line.strip())
            if not limit:
                break
    return target


def _as_pretrained(folder: Path, loaded: Loaded, target: Path) -> Path:
    """The folder of a model in the form of models/lm: itself, or a copy of a merged model."""
    if not loaded.adapted:
        return folder
    record = {"seq_len": loaded.context, "tokenizer": loaded.tokenizer.encoding_sha256}
    weights.save(target, loaded.model, record)
    return target

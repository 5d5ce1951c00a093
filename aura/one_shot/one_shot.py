"""One-shot training: folders of text in, one tokenizer out, without DVC.

It calls the functions of the pipeline's stages one after the other, in a work folder, so the same documents
give the same spiece.model as `dvc repro`. The price is that nothing is reused: each run reads, cleans and counts
all of its text again.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import xxhash

from aura.core import console, paths
from aura.core.errors import UserError
from aura.corpus import corpus
from aura.corpus.set_hash import corpus_hash
from aura.extract.extract import extract
from aura.one_shot import checklist
from aura.project.whole_params import Params
from aura.select.select import select
from aura.sources.input_files import HIDDEN, LEADS_OUT
from aura.sources.listing import list_files
from aura.sources.options import DatasetSource, JsonSource, SampleSource, Source
from aura.storage.cache import Cache
from aura.train_tokenizer import artifact, train
from aura.train_tokenizer.artifact import Artifact
from aura.train_tokenizer.corpus_counts import count_corpus, count_texts
from aura.train_tokenizer.counts import Counts, texts_hash
from aura.validate import validation


@dataclass(frozen=True)
class Request:
    """A request to train: on which text, how, and into which folder.

    Attributes:
        settings: params.yaml, with what was asked for otherwise in its place.
        sources: what to read, by name.
        output: the folder that gets spiece.model, spiece.vocab and spiece_config.json; its other files stay.
        max_files: at most so many files of each source, chosen by the hash of their names.
        judge: whether to measure the tokenizer on held-out documents, and to fail on a missed gate.
        work_dir: keeps extracted text, corpus and reports below its train_tokenizer folder; `None` keeps nothing.
    """

    settings: Params
    sources: dict[str, Source]
    output: Path
    max_files: int | None = None
    judge: bool = True
    work_dir: Path | None = None


@dataclass(frozen=True)
class Documents:
    """The text to learn from, and the documents to judge by, if the split left any."""

    counts: Counts
    hash: str
    held_out: Path | None


def run(request: Request) -> Path:
    """Train as requested and return the path of spiece.model.

    Raises `UserError` for a mistake in the request or its text, and, when the tokenizer's files are written, for
    every gate of params.yaml that it misses.
    """
    if request.output.exists() and not request.output.is_dir():
        raise UserError(f"expected a folder for the tokenizer, {request.output} is a file. Name another --output.")
    train.symbols_of(request.settings.train_tokenizer)  # refuses a wrong symbol before any text is read
    with _work_folder(request.work_dir, request.output) as work:
        documents = documents_of(request, work)
        extracted = [work / "extracted" / name for name in request.sources]
        checklist.show("before training", checklist.before(extracted, request.output, request.settings.train_tokenizer))
        made = artifact.build(documents.counts, documents.hash, request.settings.train_tokenizer)
        made.write(request.output)
        model = request.output / "spiece.model"
        missed = _judge(model, documents.held_out, request, work)
        _summarise(made, request)
        measured = request.judge and documents.held_out is not None
        checklist.show("after training", checklist.after(request.output, not missed if measured else None))
        if missed:
            raise UserError("\n".join([f"the tokenizer in {request.output} misses on held-out documents:", *missed]))
    return model


@contextmanager
def _work_folder(work_dir: Path | None, output: Path) -> Iterator[Path]:
    """A folder for what lies between text and tokenizer: fresh, and kept only where the user named one."""
    if work_dir is None:
        # Beside the output, which has room for a corpus; the system's temporary folder may lie in memory.
        work = output.with_name(f".{output.name}.work")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            yield work
        finally:
            shutil.rmtree(work)
        return
    work = work_dir / "train_tokenizer"  # a name of our own, because what lies there is replaced
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    yield work


def documents_of(request: Request, work: Path) -> Documents:
    """Extract every source, then split as the pipeline does; too few documents for that are all learnt from."""
    # All of them before any long work: a mistake in the last one should show at once.
    sources = {
        name: _as_folder(source, request.max_files, work / "files" / name) for name, source in request.sources.items()
    }
    for name, source in sources.items():
        _extract(name, source, request.sources[name].path, request.settings, work / "extracted" / name)
    folders = [work / "extracted" / name for name in sources]
    columns = [
        column
        for folder in folders
        for shard in corpus.shards(folder)
        for column in corpus.read_column(shard, "text_hash")
    ]
    hashes = pa.concat_arrays(columns)
    held = corpus.is_held_out(hashes, request.settings.select.held_out)
    options = request.settings.train_tokenizer
    splitting, most = train.splitting_of(options), options.max_segments
    if held.any() and not held.all():
        select(list(sources), request.settings.select, work / "extracted", work / "corpus", Cache(work / ".cache"))
        learnt_from = work / "corpus/train"
        shards = corpus.shards(learnt_from)
        counts = count_corpus(learnt_from, splitting, Cache(work / ".cache"), most, shards=shards)
        return Documents(counts, corpus_hash(learnt_from, found=shards), work / "corpus/held_out")
    texts = [text for folder in folders for text in corpus.read_texts(folder)]
    if request.settings.select.deduplicate == "exact":
        texts = sorted(set(texts))
    return Documents(count_texts(texts, splitting, most), texts_hash(texts), None)


def _as_folder(source: Source, max_files: int | None, folder: Path) -> Source:
    """`source`, checked; with more than `max_files` files, reduced to `folder`, which gets links to the chosen ones."""
    if isinstance(source, SampleSource):
        if max_files is not None:
            raise UserError("--max_files works with folders. Name them: --txt_dirs FOLDER or --json_dirs FOLDER")
        return source
    # Links that lead out of the source are not followed, and hidden files are not read: neither is chosen.
    chosen = [file for file in list_files(source) if file.problem not in (LEADS_OUT, HIDDEN)]
    if max_files is None or len(chosen) <= max_files:
        return source
    for file in sorted(chosen, key=lambda file: xxhash.xxh3_64_intdigest(file.name.encode()))[:max_files]:
        link = folder / file.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.path.absolute())
    if isinstance(source, DatasetSource):
        return JsonSource(kind="json", path=str(folder), links="anywhere")
    return source.model_copy(update={"path": str(folder), "links": "anywhere"})


def _extract(name: str, source: Source, shown: str, settings: Params, folder: Path) -> None:
    """Extract one source and say what came of it; `shown` is what the user calls it."""
    totals, _ = extract(name, source, settings.extract, folder, Cache(folder.parent / ".cache"))
    lost = ", ".join(f"{count:,} {reason}" for reason, count in totals["lost"].items()) or "nothing"
    text = f"{totals['documents']:,} documents, {console.size(totals['bytes_kept'])}; lost: {lost}"
    console.out.print(f"{shown}: {totals['files']:,} files, {text}", markup=False)


def _judge(model: Path, held_out: Path | None, request: Request, work: Path) -> list[str]:
    """Print the measures on held-out documents; returns a line for each gate that does not hold."""
    if not request.judge:
        return []
    if held_out is None:
        share = request.settings.select.held_out
        console.out.print(
            f"validation skipped: so few documents that a split (select.held_out: {share}) leaves one side empty; the "
            "tokenizer learnt from all. If a file holds many documents: --documents blank_line",
            markup=False,
        )
        return []
    training = held_out.with_name("train")
    gates = validation.validate(model, held_out, request.settings.validation, work / "validation", training=training)
    measures = [f"{gate.measure.replace('_', ' ')} {gate.value}" for gate in gates]
    console.out.print("held-out text: " + " · ".join(measures), markup=False)
    for gate in gates:
        if not gate.judged:
            console.err.print(f"warning: {gate.told}. It has {gate.look}.", markup=False)
    missed = [
        f"  {gate.told}" + (f" ({gate.look})" if "failing text" in gate.look else "")
        for gate in gates
        if not gate.holds
    ]
    return [*missed, "Otherwise move the limit (validate in params.yaml), or use --skip_validation."] if missed else []


def _summarise(made: Artifact, request: Request) -> None:
    options, learnt_from = made.config["options"], made.config["corpus"]
    facts = {
        "pieces": f"{made.config['vocabulary']['size']:,} ({options['model_type']})",
        "documents": f"{learnt_from['documents']:,}",
        "text": console.size(learnt_from["bytes"]),
    }
    kept = "" if request.work_dir is None else f", {request.work_dir / 'train_tokenizer'}"
    console.summary("tokenizer", facts, see=f"{request.output}/spiece.vocab, {request.output}/spiece_config.json{kept}")
    if request.output.resolve() == paths.TOKENIZER.resolve():
        console.err.print(f"note: {paths.TOKENIZER} belongs to the pipeline; the next `dvc repro` makes it again.")

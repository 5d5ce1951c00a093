"""The page: sections gathered, the strip of stages above them, and the templates filled."""

import datetime
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aura import report
from aura.core import bounded, files, params, paths
from aura.report import corpus, earlier, heads, model, provenance
from aura.report import tokenizer as tokenizers
from aura.report.earlier import Earlier
from aura.report.figures import cards
from aura.tokenizer.opening import AnyTokenizer

Values = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A stage in the strip at the top: what it made, and where the page says more."""

    name: str
    made: bool  # its output is here
    figure: str
    unit: str
    section: str
    alarm: bool = False


def write(since: str | None = None) -> Path:
    """Write reports/index.html and return its path.

    Arguments:
        since: the commit that the page compares with; HEAD, where there is one, when left out.

    Raises:
        UserError: `since` names no commit, or a file that a stage wrote is damaged.
    """
    files.write_bytes(paths.REPORT, render(since).encode(errors="replace"))  # half a character is in no UTF-8
    return paths.REPORT


def render(since: str | None = None) -> str:
    """The page as text; see `write`."""
    import jinja2  # here, because a third of a second is too much for every program that imports this module

    here = Path(report.__file__).parent
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(here),
    )
    environment.filters["size"] = corpus.sizes
    environment.filters["thousands"] = "{:,}".format
    tokenizer = tokenizers.load()
    environment.filters["pieces"] = partial(tokenizers.pieces, tokenizer) if tokenizer else _whole
    scripts = {name: (here / f"{name}.js").read_text(encoding="utf-8") for name in ("pager", "playground")}
    style = (here / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(style=style, scripts=scripts, **gathered(since, tokenizer))


def gathered(since: str | None, tokenizer: AnyTokenizer | None) -> Values:
    """All that the templates show."""
    before = earlier.at(since)
    lock, options = earlier.lock_now(), _params()
    extract = earlier.mapping(options.get("extract"))
    named = earlier.mapping(extract.get("sources"))
    sources = {str(name): entry for name, entry in named.items() if isinstance(entry, dict)}
    conversations = earlier.mapping(earlier.mapping(options.get("conversations")).get("sources"))
    instructions = {str(name): entry for name, entry in conversations.items() if isinstance(entry, dict)}
    measured, trained = tokenizers.metrics(), model.metrics()
    same = before is None or before.same_text(lock, measured)
    then_measured, then_trained = (before.validated, before.pretrained) if before else ({}, {})
    values: Values = {
        "project": Path.cwd().name,
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "before": before,
        "same_text": same,
        "tokenizer": tokenizer,
        "details": tokenizers.details(),
        "measured": measured,
        "trained": trained,
        "corpus": corpus.section({name: str(entry.get("kind", "–")) for name, entry in sources.items()}),
        "tokens": tokenizers.section(tokenizer),
        "model": model.section(trained),
        "provenance": provenance.section(sources, instructions, str(extract.get("lexicon", "")), lock),
        "token_cards": cards(tokenizers.HEADLINES, measured, then_measured, same_text=same),
        "model_cards": cards(model.HEADLINES, trained, then_trained, same_text=same),
        "changes": _changes(before, lock, options, measured, trained, same=same) if before else {},
        "options": files.read_text(params.PARAMS_FILE) if params.PARAMS_FILE.exists() else "",
    }
    return values | {"steps": steps(values)}


def steps(values: Values) -> list[Step]:
    """The stages, in order, with the figure that says most about each."""
    totals, details, trained = values["corpus"]["totals"], values["details"], values["trained"]
    gates = details["gates"] if details else []
    held = sum(gate["holds"] for gate in gates)
    counts = _token_counts()
    spoken = _conversation_counts()
    vocabulary = values["tokenizer"].vocab_size if values["tokenizer"] else 0
    extracted = any((paths.EXTRACTED / source.name).is_dir() for source in values["corpus"]["sources"])
    exported = (paths.HUGGING_FACE_MODEL / "config.json").exists()
    fall = model.fall_of_answers()
    bits = f"{trained['bits_per_byte']:.2f}" if trained else ""
    return [
        Step("extract", extracted, _short(totals["documents"]), "documents", "corpus"),
        Step("select", values["corpus"]["selected"], corpus.sizes(totals["kept"]), "of text kept", "corpus"),
        Step("train_tokenizer", bool(vocabulary), _short(vocabulary), "pieces", "tokenizer"),
        Step("validate", bool(gates), f"{held}/{len(gates)}", "gates hold", "gates", held < len(gates)),
        Step("encode", counts > 0, _short(counts), "tokens", "model"),
        Step("conversations", spoken > 0, _short(spoken), "conversations", "model"),
        Step("pretrain", paths.LANGUAGE_MODEL.is_dir() and bool(trained), bits, "bits per byte", "model"),
        Step("adapt", fall is not None, f"{fall or 0:.0%}", "less loss on answers", "model"),
        Step("export", exported, "Llama", "for transformers", "provenance"),
    ]


def _token_counts() -> int:
    place, counts = paths.TOKENS / "manifest.json", {str: {str: {"tokens": int}}}
    head = heads.of_manifest(place, "dvc repro encode", "shards", counts=counts) or {}
    return sum(source["tokens"] for split in head.get("counts", {}).values() for source in split.values())


def _conversation_counts() -> int:
    place = paths.CONVERSATIONS / "manifest.json"
    head = heads.of_manifest(place, "dvc repro conversations", "shards", counts={str: {"conversations": int}}) or {}
    return sum(split["conversations"] for split in head.get("counts", {}).values())


def _changes(
    before: Earlier, lock: Values, options: Values, measured: Values, trained: Values, *, same: bool
) -> Values:
    return {
        "commits": earlier.commits_since(before.commit),
        "params": earlier.changed_params(before.params, options),
        "outputs": earlier.changed_outputs(before.lock, lock),
        "figures": [
            *earlier.changed_figures(tokenizers.HEADLINES, before.validated, measured, same_text=same),
            *earlier.changed_figures(model.HEADLINES, before.pretrained, trained, same_text=same),
        ],
    }


def _params() -> Values:
    """The values of params.yaml; empty for a file that other commands refuse."""
    if not params.PARAMS_FILE.exists():
        return {}
    found = bounded.bounded_yaml(params.PARAMS_FILE.read_text(encoding="utf-8", errors="replace"))
    return found if isinstance(found, dict) else {}


def _short(number: float) -> str:
    """A count in three digits: 4.67 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e5)):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):.3g}\u202f{unit}"
    return f"{number:,.0f}"


def _whole(text: str) -> list[tuple[int, str, bool]]:
    """A text in place of its pieces, where there is no tokenizer to cut it."""
    return [(-1, text, False)]

"""The command line of one-shot training, and the same as one function: what the guide's commands run.

Options have the guide's underscored names and take several values, which Typer by itself does not. None has a
default of its own where params.yaml has a value: left out, it is what the pipeline uses.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from aura.core import console, paths
from aura.core.errors import UserError
from aura.core.params import PARAMS_FILE
from aura.core.section import Section, checked
from aura.one_shot import one_shot
from aura.one_shot.one_shot import Request
from aura.project import whole_params
from aura.project.whole_params import Params
from aura.sources.input_files import SUFFIXES, has_suffix
from aura.sources.options import TEXT_KEYS, JsonSource, Source, TxtSource
from aura.train_tokenizer import artifact
from aura.train_tokenizer.options import NAMED_SIZES, SIZE_NAMES

SEVERAL = ("--txt_dirs", "--json_dirs", "--text_key")  # options that take several values

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


TxtDirs = Annotated[list[str] | None, typer.Option("--txt_dirs", help="Folders (or files) of .txt and .md text.")]
JsonDirs = Annotated[
    list[str] | None, typer.Option("--json_dirs", help="Folders (or files) of .json and .jsonl records.")
]
Output = Annotated[Path, typer.Option("--output", help="Folder for spiece.model, spiece.vocab and spiece_config.json.")]
VocabSize = Annotated[
    str | None,
    typer.Option(
        "--vocab_size",
        help=f"Pieces, or one of {', '.join(SIZE_NAMES)}. Left out: auto, by a scaling law or as measured.",
    ),
]
ModelParameters = Annotated[
    int | None,
    typer.Option("--model_parameters", min=1, help="For auto: of the model, embeddings left out [budget / 20]."),
]
TokenBudget = Annotated[
    int | None,
    typer.Option("--token_budget", min=1, help="For auto: tokens the model will see [those of the corpus]."),
]
ModelType = Annotated[str | None, typer.Option("--model_type", help="unigram or bpe.")]
SpecialTokens = Annotated[
    bool | None,
    typer.Option("--special_tokens/--no_special_tokens", help="The instruction, chat and reasoning tokens."),
]
UserSymbols = Annotated[
    str | None, typer.Option("--user_symbols", help='Strings kept whole, with commas between: "<A>,<B>".')
]
ExtraSpecialTokens = Annotated[
    str | None,
    typer.Option("--extra_special_tokens", help='Special tokens of your own, in reserved slots: "<tool>,<end>".'),
]
CharacterCoverage = Annotated[
    float | None, typer.Option("--character_coverage", help="Share of characters with a piece of their own.")
]
MinLength = Annotated[
    int | None, typer.Option("--min_length", min=0, help="Characters; shorter documents are left out.")
]
MaxFiles = Annotated[int | None, typer.Option("--max_files", min=1, help="At most so many files of each folder.")]
DocumentsAre = Annotated[
    str | None, typer.Option("--documents", help="In .txt files, a document is a: file, blank_line or line. [file]")
]
TextKeys = Annotated[
    list[str] | None,
    typer.Option("--text_key", help=f"Where records have their text, as in data.note [{' '.join(TEXT_KEYS)}]."),
]
Nested = Annotated[
    bool, typer.Option("--nested", help="In JSON, also read the records inside a record that has a text.")
]
Encoding = Annotated[
    str | None, typer.Option("--encoding", help="Of the files that are not UTF-8: cp1252, gb18030, shift_jis, …")
]
FollowLinks = Annotated[bool, typer.Option("--follow_links", help="Also read links to files outside of the folders.")]
WorkDir = Annotated[
    Path | None, typer.Option("--work_dir", help="Keep the extracted text, the corpus and the reports here.")
]
SkipValidation = Annotated[
    bool, typer.Option("--skip_validation", help="Do not judge the tokenizer on held-out documents.")
]


@app.command()
def train_tokenizer(
    txt_dirs: TxtDirs = None,
    json_dirs: JsonDirs = None,
    output: Output = paths.TOKENIZER,
    vocab_size: VocabSize = None,
    model_parameters: ModelParameters = None,
    token_budget: TokenBudget = None,
    model_type: ModelType = None,
    special_tokens: SpecialTokens = None,
    user_symbols: UserSymbols = None,
    extra_special_tokens: ExtraSpecialTokens = None,
    character_coverage: CharacterCoverage = None,
    min_length: MinLength = None,
    max_files: MaxFiles = None,
    documents: DocumentsAre = None,
    text_key: TextKeys = None,
    nested: Nested = False,
    encoding: Encoding = None,
    follow_links: FollowLinks = False,
    work_dir: WorkDir = None,
    skip_validation: SkipValidation = False,
) -> None:
    """Train one tokenizer on folders of text, without the pipeline.

    params.yaml gives all that is left out: without folders, its sources; without options, its train_tokenizer section,
    held-out share and gates. Where there is no params.yaml, the defaults of aura do.
    """
    _refuse_idle({"--documents": documents}, txt_dirs, "--txt_dirs")
    _refuse_idle({"--text_key": text_key, "--nested": nested}, json_dirs, "--json_dirs")
    _refuse_idle(
        {"--encoding": encoding, "--follow_links": follow_links}, txt_dirs or json_dirs, "--txt_dirs or --json_dirs"
    )
    settings = _with_min_length(whole_params.load_or_defaults(), min_length)
    sources = settings.extract.sources
    if not (txt_dirs or json_dirs or PARAMS_FILE.exists()):
        raise UserError("expected text to learn from, got none: name folders with --txt_dirs or --json_dirs")
    if txt_dirs or json_dirs:
        reading = ProgramReading(documents or "file", text_key or TEXT_KEYS, nested, encoding, follow_links)
        sources, settings = sources_of(txt_dirs or [], json_dirs or [], reading), _without_caps(settings)
    options: dict[str, object] = {
        "vocab_size": vocab_size or "auto",
        "model_parameters": model_parameters,
        "token_budget": token_budget,
        "model_type": model_type,
        "special_tokens": special_tokens,
        "user_symbols": symbols_in(user_symbols, "--user_symbols"),
        "extra_special_tokens": symbols_in(extra_special_tokens, "--extra_special_tokens"),
        "character_coverage": character_coverage,
    }
    one_shot.run(Request(with_options(settings, options), sources, output, max_files, not skip_validation, work_dir))


def train_tokenizer_enhanced(
    corpus_path: str | Path,
    output_dir: str | Path,
    vocab_size: int | str | None = None,
    model_type: str | None = None,
    *,
    skip_validation: bool = False,
    text_keys: Sequence[str] = TEXT_KEYS,
    nested: bool = False,
    encoding: str | None = None,
    follow_links: bool = False,
    **options: object,
) -> Path:
    """Train a tokenizer as the command line does, and return the path of its spiece.model.

    Args:
        corpus_path: a folder of .txt and .md files, each a document; or one file: .jsonl with a record a line, or
            text with blank lines between its documents.
        output_dir: gets spiece.model, spiece.vocab and spiece_config.json.
        vocab_size: pieces, a name such as "small", or "auto" (the default): by the scaling law with vocabulary, or,
            for little text, the elbow of the measured curve.
        model_type: "unigram" or "bpe"; left out, like every other option, as in params.yaml.
        skip_validation: do not judge the tokenizer on held-out documents.
        text_keys: for records of JSON: dotted paths to their text, the first one present counts.
        nested: for records of JSON: also read the records inside a record that has a text.
        encoding: of the files that are not UTF-8, such as "cp1252".
        follow_links: also read links to files outside of the folder.
        options: any other key of the train_tokenizer section of params.yaml.

    Raises:
        UserError: a mistake in text or options; or, with the files written, a gate of params.yaml that is missed.
    """
    path = Path(corpus_path)
    is_json = has_suffix(path.name, SUFFIXES["json"])
    documents = "blank_line" if path.is_file() else "file"
    reading = ProgramReading(documents, text_keys, nested, encoding, follow_links)
    chosen = options | {"vocab_size": vocab_size or "auto", "model_type": model_type}
    request = Request(
        settings=with_options(_without_caps(whole_params.load_or_defaults()), chosen),
        sources=sources_of([] if is_json else [path], [path] if is_json else [], reading),
        output=Path(output_dir),
        judge=not skip_validation,
    )
    return one_shot.run(request)


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    app(args=expanded(arguments), prog_name="python stages/train_tokenizer.py")


def expanded(arguments: Sequence[str]) -> list[str]:
    """Repeat an option before each of its values: `--txt_dirs a b` becomes `--txt_dirs a --txt_dirs b`."""
    result: list[str] = []
    option = ""  # the option that further values belong to
    for argument in arguments:
        if argument.startswith("--"):
            name = argument.partition("=")[0]
            option = name if name in SEVERAL else ""
        elif option and result[-1] != option:
            result.append(option)
        result.append(argument)
    return result


def symbols_in(listed: str | None, option: str) -> list[str] | None:
    """The symbols of an option, which have commas between, or None if it is not given; what is left out is told.

    White space around a symbol belongs to the list, but a symbol may consist of line breaks or tabs alone.
    """
    if listed is None:
        return None
    found = []
    for part in listed.split(","):
        symbol = part.strip() or part.strip(" ")
        if not symbol:
            _note(f"{option}: {part!r} between commas is no symbol and was left out.")
        elif symbol != part.strip(" "):
            _note(f"{option}: {part!r} was taken as {symbol!r}.")
        found += [symbol] if symbol else []
    return found


def _refuse_idle(options: dict[str, object], folders: Sequence[str] | None, needed: str) -> None:
    """Refuse options that would change nothing, because no folders are named that they are for."""
    for name, value in options.items():
        if value and not folders:
            raise UserError(
                f"{name} is for the folders of {needed}, and none is named. Name some, or change the sources in "
                "params.yaml: extract.sources"
            )


def _note(text: str) -> None:
    console.err.print(f"note: {text}", markup=False)


@dataclass(frozen=True)
class ProgramReading:
    """The way to read the files of named folders; attributes mean the same as in a source of params.yaml."""

    documents: str = "file"
    text_keys: Sequence[str] = TEXT_KEYS
    nested: bool = False
    encoding: str | None = None
    follow_links: bool = False


def sources_of(txt: Sequence[str | Path], json: Sequence[str | Path], reading: ProgramReading) -> dict[str, Source]:
    """A named source for each folder or file; the order in which they are given does not matter."""
    if reading.documents not in ("file", "blank_line", "line"):
        raise UserError(f"--documents: expected file, blank_line or line; got {reading.documents!r}")
    files = {"encoding": reading.encoding, "links": "anywhere" if reading.follow_links else "inside"}
    texts = {"kind": "txt", "documents": reading.documents, **files}
    records = {"kind": "json", "text_keys": list(reading.text_keys), "nested": reading.nested, **files}
    found: dict[str, Source] = {}
    for number, path in enumerate(_distinct(txt), start=1):
        found[f"txt{number}"] = checked(TxtSource, texts | {"path": path}, path)
    for number, path in enumerate(_distinct(json), start=1):
        found[f"json{number}"] = checked(JsonSource, records | {"path": path}, path)
    return found


def _distinct(paths: Sequence[str | Path]) -> list[str]:
    """Each folder or file once, in one spelling; addresses stay as they are."""
    return sorted({str(path) if "://" in str(path) else os.path.normpath(path) for path in paths})


def with_options(settings: Params, options: dict[str, object]) -> Params:
    """`settings` with those options of its train_tokenizer section that are not `None`, checked."""
    given = {name: value for name, value in options.items() if value is not None}
    if "vocab_size" in given:
        given["vocab_size"] = size = size_named(str(given["vocab_size"]))
        idle = [name for name in ("model_parameters", "token_budget") if name in given and size != "auto"]
        for name in idle:
            _note(f"{name} decides nothing, because vocab_size is {size}; it is for vocab_size auto.")
    return _replaced(settings, train_tokenizer=artifact.with_changes(settings.train_tokenizer, **given))


def size_named(size: str) -> int | str:
    """A vocabulary size: digits, or one of `SIZE_NAMES`."""
    if size in SIZE_NAMES:
        return size
    try:
        return int(size)
    except ValueError:
        names = ", ".join(f"{name} ({number:,})" for name, number in NAMED_SIZES.items())
        raise UserError(f"vocab_size: expected a number of pieces, or one of {names}, auto; got {size!r}") from None


def _with_min_length(settings: Params, characters: int | None) -> Params:
    if characters is None:
        return settings
    return _replaced(settings, extract=settings.extract.model_copy(update={"min_chars": characters}))


def _without_caps(settings: Params) -> Params:
    """For other sources than those of params.yaml, which its caps and `prefer` name."""
    return _replaced(settings, select=settings.select.model_copy(update={"caps": {}, "prefer": []}))


def _replaced(settings: Params, **sections: Section) -> Params:
    return settings.model_copy(update=sections)

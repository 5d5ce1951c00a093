import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aura.core.errors import UserError
from aura.corpus import corpus
from aura.one_shot import one_shot, program
from aura.project import whole_params
from aura.sources.options import TxtSource
from aura.tokenizer.symbols import ROLES
from aura.tokenizer.tokenizer import Tokenizer
from stages.train_tokenizer import train_tokenizer_enhanced
from tests.conftest import REPOSITORY, Project, new_project, stdlib_texts

FILES = [
    *("golden.json", "spiece.model", "spiece.vocab", "spiece_config.json", "tokenizer.json", "tokenizer_config.json")
]


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The mini project, its tokenizer not yet trained; tests write into folders of their own."""
    project = new_project(tmp_path_factory.mktemp("program") / "project")
    project.run("aura", "source", "remove", "sample")
    return project


@pytest.fixture
def in_mini(mini: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mini project is the working folder, for calls in this process."""
    monkeypatch.chdir(mini.folder)


def train(project: Project, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the program; whatever its exit status, there is no traceback and at most one error."""
    done = project.run("python", "stages/train_tokenizer.py", *arguments, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == (1 if status == 1 else 0)
    return done


def model_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "spiece.model").read_bytes()).hexdigest()


@pytest.mark.slow
def test_pipeline_and_program_give_the_same_model(mini: Project, tmp_path: Path):
    """Also with the sources named as folders, in another order, and files renamed and regrouped."""
    mini.run("dvc", "repro", "-q", "train_tokenizer")
    expected = model_hash(mini.folder / "models/spm")
    train(mini, "--output", str(tmp_path / "by_params"), "--vocab_size", "700")
    assert model_hash(tmp_path / "by_params") == expected

    other = mini.copy(tmp_path / "other")
    other.run("aura", "source", "remove", "pinned")
    other.run("dvc", "repro", "-q", "train_tokenizer")
    expected = model_hash(other.folder / "models/spm")
    folders = other.folder / "data"
    train(other, "--txt_dirs", "data/books", "--json_dirs", "data/posts", "--output", "a", "--vocab_size", "700")
    (folders / "first").mkdir()
    for number, path in enumerate(sorted((folders / "books").iterdir())[::3]):
        path.rename(folders / f"first/renamed {number}.txt")
    lines = [line for path in sorted((folders / "posts").iterdir()) for line in path.read_text().splitlines()]
    shutil.rmtree(folders / "posts")
    (folders / "posts").mkdir()
    (folders / "posts/all.jsonl").write_text("\n".join(reversed(lines)), encoding="utf-8")
    for order in (["data/books", "data/first"], ["data/first", "data/books"]):
        train(other, "--json_dirs", "data/posts", "--txt_dirs", *order, "--output", "b", "--vocab_size", "700")
        assert model_hash(other.folder / "a") == model_hash(other.folder / "b") == expected

    other.edit_params(train_tokenizer={"model_type": "bpe"})
    other.run("python", "stages/train_tokenizer.py")  # on the corpus of the files as they were before
    train(other, "--json_dirs", "data/posts", "--txt_dirs", *order, "--output", "b", "--vocab_size", "700")
    assert expected != model_hash(other.folder / "models/spm") == model_hash(other.folder / "b")


@pytest.mark.usefixtures("in_mini")
@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_held_out_text_decides_nothing(mini: Project, tmp_path: Path, model_type: str):
    books, work = tmp_path / "books", tmp_path / "work"
    shutil.copytree(mini.folder / "data/books", books)

    def model_and_held_out() -> tuple[str, dict[str, str]]:
        settings = program.with_options(whole_params.load(), {"vocab_size": 600, "model_type": model_type})
        sources = program.sources_of([books], [], program.ProgramReading())
        one_shot.run(one_shot.Request(settings, sources, tmp_path / "out", judge=False, work_dir=work))
        rows = pq.read_table(work / "train_tokenizer/corpus/held_out", columns=["doc", "text"]).to_pylist()
        return model_hash(tmp_path / "out"), {row["doc"]: row["text"] for row in rows}

    expected, before = model_and_held_out()
    name, text = min(before.items())
    changed = next(f"{text} {number}" for number in range(10_000) if held_out(f"{text} {number}"))
    (books / name).write_text(changed, encoding="utf-8")
    found, after = model_and_held_out()
    assert after == before | {name: changed}
    assert found == expected


def held_out(text: str) -> bool:
    """Whether the split takes a document of the mini project for judging."""
    hashes = pa.array([corpus.text_hash(text.encode())], corpus.SCHEMA.field("text_hash").type)
    return bool(corpus.is_held_out(hashes, whole_params.load().select.held_out)[0])


def test_the_guides_advanced_command_runs_as_written(mini: Project):
    """Only the size differs: 32,000 pieces want more text than a test has."""
    for name, source in (("txt", "books"), ("kb", "pinned"), ("json", "posts"), ("pretrain", "posts")):
        shutil.copytree(mini.folder / "data" / source, mini.folder / "data" / name)
    (mini.folder / "models/spm").mkdir(parents=True, exist_ok=True)
    (mini.folder / "models/spm/notes.txt").write_text("mine")
    command = """
        --txt_dirs data/txt data/kb --json_dirs data/json data/pretrain --output models/spm --vocab_size 900
        --model_type unigram --special_tokens --user_symbols <INST>,<RESP>,<THINK>"""
    done = train(mini, *command.split())
    assert "note: <INST> is a special token already (id 4) and stays one." in done.stderr
    assert "note: models/spm belongs to the pipeline" in done.stderr
    assert sorted(path.name for path in (mini.folder / "models/spm").iterdir()) == sorted(["notes.txt", *FILES])
    tokenizer = Tokenizer(mini.folder / "models/spm/spiece.model")
    assert tokenizer.vocab_size == 900
    assert tokenizer.is_special(tokenizer.proc.piece_to_id("<INST>"))
    assert tokenizer.proc.piece_to_id("<RESP>") in tokenizer.encode("a<RESP>b")


def test_every_option_reaches_what_it_names(mini: Project, tmp_path: Path):
    options = """--vocab_size tiny --model_type bpe --no_special_tokens --character_coverage 1.0 --min_length 250
        --max_files 150 --skip_validation --txt_dirs=data/books"""
    done = train(mini, *options.split(), "--output", str(tmp_path / "out"), "--work_dir", str(tmp_path / "work"))
    config = (tmp_path / "out/spiece_config.json").read_text()
    for told in (
        '"vocab_size": "tiny"',
        '"size": 2000',
        '"model_type": "bpe"',
        '"special_tokens": false',
        '"character_coverage": 1.0',
    ):
        assert told in config
    assert "data/books: 150 files, " in done.stdout
    assert " too short" in done.stdout
    assert "held-out text" not in done.stdout
    assert sorted(path.name for path in (tmp_path / "work/train_tokenizer").iterdir()) == [
        ".cache",
        "corpus",
        "extracted",
        "files",
    ]
    assert not any(role in (tmp_path / "out/spiece.vocab").read_text() for role in ROLES)


def test_a_folder_named_twice_is_read_once():
    assert [*program.sources_of(["a", "./a", "a/", Path("a"), "b/../a"], ["a", "a/"], program.ProgramReading())] == [
        "txt1",
        "json1",
    ]


def test_several_values_after_one_option_become_repeated_options():
    assert program.expanded(["--txt_dirs", "a", "b", "--output", "o", "--json_dirs=c", "d"]) == (
        ["--txt_dirs", "a", "--txt_dirs", "b", "--output", "o", "--json_dirs=c", "--json_dirs", "d"]
    )
    assert program.expanded(["--txt_dirs", "--output", "o"]) == ["--txt_dirs", "--output", "o"]


def test_records_with_a_key_of_their_own(mini: Project, tmp_path: Path):
    (tmp_path / "posts").mkdir()
    records = [
        {"data": {"note": text}} if number % 2 else {"say": text} for number, text in enumerate(stdlib_texts(60))
    ]
    (tmp_path / "posts/a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    arguments = ["--json_dirs", str(tmp_path / "posts"), "--output", str(tmp_path / "out"), "--vocab_size", "400"]
    assert "--text_key" in train(mini, *arguments, status=1).stderr
    assert "1 files, 30 documents" in train(mini, *arguments, "--text_key", "data.note", "--skip_validation").stdout
    told = train(mini, *arguments, "--text_key", "data.note", "say", "--skip_validation").stdout
    assert "1 files, 60 documents" in told
    assert "lost: nothing" in told


@pytest.mark.usefixtures("in_mini")
def test_the_function_takes_keys_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lines = [json.dumps({"say": text}) + "\n" for text in stdlib_texts(60)]
    (tmp_path / "a.jsonl").write_text("".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match="--text_key"):
        train_tokenizer_enhanced(tmp_path / "a.jsonl", tmp_path / "out", vocab_size=400)
    train_tokenizer_enhanced(
        tmp_path / "a.jsonl", tmp_path / "out", vocab_size=400, skip_validation=True, text_keys=["say"]
    )
    assert "1 files, 60 documents" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("listed", "symbols", "told"),
    [
        ("<A>,<B>", ["<A>", "<B>"], []),
        ("<A>, <B> ", ["<A>", "<B>"], []),
        ("\n\n", ["\n\n"], []),
        (" \t\t ,<A>", ["\t\t", "<A>"], []),
        ("<A>,\n<B>\n", ["<A>", "<B>"], ["'\\n<B>\\n' was taken as '<B>'"]),
        ("<A>,,<B>, ", ["<A>", "<B>"], ["'' between commas is no symbol", "' ' between commas is no symbol"]),
        ("", [], ["'' between commas is no symbol"]),
    ],
)
def test_no_user_symbol_goes_without_a_word(capsys, listed: str, symbols: list[str], told: list[str]):
    assert program.symbols_in(listed, "--user_symbols") == symbols
    said = capsys.readouterr().err
    assert said.count("note: ") == len(told)
    assert all(part in said for part in told)


def test_symbols_of_white_space_reach_the_tokenizer(mini: Project, tmp_path: Path):
    arguments = ["--txt_dirs", "data/books", "--output", str(tmp_path), "--vocab_size", "500", "--skip_validation"]
    train(mini, *arguments, "--user_symbols", "\n\n,<A>", "--extra_special_tokens", "<tool>, <end>")
    tokenizer = Tokenizer(tmp_path / "spiece.model")
    assert [len(tokenizer.encode(symbol)) for symbol in ("\n\n", "<A>")] == [1, 1]
    assert [tokenizer.piece(token) for token in (14, 15, 16)] == ["<tool>", "<end>", "<reserved_2>"]
    assert len(tokenizer.encode("<tool>")) > 1


def test_options_that_decide_nothing_are_told(mini: Project, tmp_path: Path):
    arguments = ["--txt_dirs", "data/books", "--output", str(tmp_path), "--vocab_size", "500", "--skip_validation"]
    done = train(mini, *arguments, "--token_budget", "1000")
    assert "note: token_budget decides nothing, because vocab_size is 500" in done.stderr


def test_without_a_size_it_is_automatic_and_a_small_corpus_gets_what_it_allows(mini: Project, tmp_path: Path):
    mini.edit_params(validate={"max_unused_share": 1.0})
    done = train(mini, "--txt_dirs", "data/books", "--output", str(tmp_path))
    mini.edit_params(validate={"max_unused_share": 0.95})
    size = Tokenizer(tmp_path / "spiece.model").vocab_size
    assert size % 128 == 0
    assert "vocabulary size: token budget " in done.stdout
    assert "(arXiv 2407.13623)" in done.stdout
    given = ["--model_parameters", "302000000", "--token_budget", "6876840035", "--vocab_size", "auto"]
    told = train(mini, "--txt_dirs", "data/books", "--output", str(tmp_path / "b"), *given, "--skip_validation").stdout
    assert "gives 15,7" in told
    assert "the most this corpus allows" in told


def test_a_missed_gate_names_the_measure_and_leaves_the_files(mini: Project, tmp_path: Path):
    arguments = ["--txt_dirs", "data/books", "--output", str(tmp_path), "--vocab_size", "500"]
    mini.edit_params(validate={"min_bytes_per_token": 9.5})
    done = train(mini, *arguments, status=1)
    skipped = train(mini, *arguments, "--skip_validation")
    mini.edit_params(validate={"min_bytes_per_token": 1.1})
    assert "bytes_per_token: expected min_bytes_per_token 9.5, got " in done.stderr
    assert "--skip_validation" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert "held-out" not in skipped.stdout + skipped.stderr


def test_a_single_document_trains_and_says_why_it_is_not_judged(mini: Project, tmp_path: Path):
    (tmp_path / "one.txt").write_text("\n\n".join(stdlib_texts(40)), encoding="utf-8")
    done = train(mini, "--txt_dirs", str(tmp_path), "--output", str(tmp_path / "out"), "--vocab_size", "400")
    assert "validation skipped: so few documents" in done.stdout
    assert Tokenizer(tmp_path / "out/spiece.model").vocab_size == 400


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--txt_dirs data/books nowhere --output out", "No .txt files found: the folder nowhere does not exist."),
        (
            "--txt_dirs data/posts --output out",
            "No .txt or .md files found in data/posts: it holds only files with .js",
        ),
        ("--txt_dirs nowhere --output out --extra_special_tokens x", "a name has two or more characters"),
        ("--txt_dirs data/books --output out --vocab_size many", "or one of tiny (2,000), small (8,000)"),
        ("--txt_dirs data/books --output out --vocab_size 40000", "the largest possible for this corpus"),
        ("--txt_dirs data/books --output out --model_type wordpiece", "model_type: expected 'unigram' or 'bpe'"),
        ("--txt_dirs data/books --output out --documents page", "--documents: expected file, blank_line or line"),
        ("--output out --documents line", "--documents is for the folders of --txt_dirs, and none is named"),
        ("--txt_dirs data/books --output out --text_key a", "--text_key is for the folders of --json_dirs, and none"),
        ("--txt_dirs data/books --output params.yaml", "expected a folder for the tokenizer, params.yaml is a file"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(mini: Project, arguments: str, said: str):
    assert said in train(mini, *arguments.split(), status=1).stderr
    assert not (mini.folder / "out").exists()


def test_the_built_in_sample_has_no_files_to_choose_from(mini: Project, tmp_path: Path):
    other = mini.copy(tmp_path / "other")
    other.run("aura", "source", "add", "sample", "data/sample.pin.json", "--kind", "sample")
    assert "--max_files works with folders" in train(other, "--output", "out", "--max_files", "3", status=1).stderr


@pytest.mark.usefixtures("in_mini")
def test_the_function_trains_on_one_file_with_blank_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    texts = [text.replace("\n\n", "\n") for text in stdlib_texts(120)]
    (tmp_path / "corpus.text").write_text("\n \n\n".join(texts), encoding="utf-8")
    model = train_tokenizer_enhanced(tmp_path / "corpus.text", tmp_path / "out", vocab_size=600, model_type="bpe")
    assert model == tmp_path / "out/spiece.model"
    assert f"corpus.text: 1 files, {len(texts)} documents" in capsys.readouterr().out
    assert Tokenizer(model).decode(Tokenizer(model).encode(texts[0])) == texts[0]


PLAIN_SCRIPT = """
from aura.extract import extract
from stages.train_tokenizer import train_tokenizer_enhanced

extract.SMALL = 0  # bytes: even so little text is read by worker processes
print("began", flush=True)
print(train_tokenizer_enhanced("data/books", "out", vocab_size=600, model_type="bpe", skip_validation=True))
"""


def test_the_function_works_in_a_script_without_a_main_guard(mini: Project, tmp_path: Path):
    project = mini.copy(tmp_path / "copy")
    (project.folder / "plain.py").write_text(PLAIN_SCRIPT)
    done = project.run("python", "plain.py")
    assert done.stdout.count("began") == 1
    assert done.stdout.endswith("out/spiece.model\n")
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("in_mini")
def test_the_function_refuses_an_unknown_option(tmp_path: Path):
    with pytest.raises(UserError, match="vocabsize"):
        train_tokenizer_enhanced("data/books", tmp_path, vocabsize=600)


def test_files_are_chosen_among_those_that_are_read(tmp_path: Path):
    data = tmp_path / "data"
    for name in (".git/x.txt", "._a.txt", *(f"{number}.txt" for number in range(3))):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("text")
    source = TxtSource(kind="txt", path=str(data))
    for number in (1, 2):
        chosen = one_shot._as_folder(source, number, tmp_path / f"links-{number}")
        names = {path.name for path in Path(chosen.path).iterdir()}
        assert len(names) == number
        assert names < {"0.txt", "1.txt", "2.txt"}
    assert one_shot._as_folder(source, 3, tmp_path / "links") is source
    odd = TxtSource(kind="txt", path=str(data / "corpus.text"))
    Path(odd.path).write_text("text")
    assert one_shot._as_folder(odd, 1, tmp_path / "links") is odd


def test_how_files_are_read_reaches_the_source_of_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[one_shot.Request] = []
    monkeypatch.setattr(one_shot, "run", asked.append)
    monkeypatch.chdir(REPOSITORY)
    options = ["--encoding", "cp1252", "--follow_links", "--nested", "--output", str(tmp_path)]
    program.app([*options, "--txt_dirs", "a", "--json_dirs", "b"], standalone_mode=False)
    reading = {"encoding": "cp1252", "follow_links": True, "nested": True}
    train_tokenizer_enhanced("a", tmp_path, **reading)
    train_tokenizer_enhanced("b.json", tmp_path, **reading)
    for sources in (asked[0].sources, asked[1].sources | asked[2].sources):
        assert sorted(sources) == ["json1", "txt1"]
        assert all((source.encoding, source.links) == ("cp1252", "anywhere") for source in sources.values())
        assert sources["json1"].nested
    for option in ("--encoding", "--follow_links", "--nested"):
        with pytest.raises(UserError, match=f"{option} is for the folders"):
            program.app([option, *["cp1252"] * (option == "--encoding")], standalone_mode=False)
    with pytest.raises(UserError, match="a: encoding: expected an encoding that Python knows"):
        program.sources_of(["a"], [], program.ProgramReading(encoding="base64"))

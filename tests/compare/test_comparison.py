"""Foreign tokenizers give the ids of their own libraries; comparing and parity over real ones that packages ship."""

import base64
import gc
import warnings
from pathlib import Path

import mistral_common
import pytest
import sentencepiece
import tiktoken
import tokenizers as hf
import typer.testing

from aura.cli import compare
from aura.cli.app import app
from aura.compare import comparison, named
from aura.core.errors import UserError
from aura.tokenizer import foreign
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from tests.conftest import Project

DATA = Path(mistral_common.__file__).parent / "data"
SENTENCEPIECE, TEKKEN = DATA / "mistral_instruct_tokenizer_240323.model.v3", DATA / "tekken_240718.json"
TEXTS = ["The end of it.", "Съешь ещё 中文 🙂\n\n  x = [1]", "<s> [INST] </s>", ""]


@pytest.fixture(scope="module")
def tekken():
    return foreign.load(TEKKEN, "tekken")


def test_a_sentencepiece_model_of_others_encodes_as_sentencepiece_does():
    loaded = foreign.load(SENTENCEPIECE, "v3")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(SENTENCEPIECE))
    assert [ids.tolist() for ids in loaded.encode_batch(TEXTS)] == [processor.Encode(text) for text in TEXTS]
    assert loaded.word_prefix == ""
    assert loaded.pieces[processor.PieceToId("<0x0A>")] == b"\n"


def test_tekken_encodes_as_mistrals_own_reader_does(tekken):
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    theirs = Tekkenizer.from_file(TEKKEN)
    for text, ids in zip(TEXTS, tekken.encode_batch(TEXTS), strict=True):
        assert ids.tolist() == theirs.encode(text, bos=False, eos=False)
        assert tekken.decode(ids) == text
        assert b"".join(tekken.pieces[token] for token in ids) == text.encode()
    assert tekken.vocab_size == theirs.n_words
    assert tekken.invalid_utf8 > 0


def test_a_tokenizer_json_encodes_as_tokenizers_does(tmp_path, documents):
    made = hf.ByteLevelBPETokenizer()
    made.train_from_iterator(documents[:40], vocab_size=600, special_tokens=["<end>"], show_progress=False)
    made.save(str(tmp_path / "tokenizer.json"))
    loaded = foreign.load(tmp_path, "folder")
    for text in (*TEXTS, documents[1]):
        ids = loaded.encode_batch([text])[0]
        assert ids.tolist() == made.encode(text).ids
        assert b"".join(loaded.pieces[token] for token in ids) == text.encode()
    assert loaded.encode_batch(["<end>"])[0].tolist() != [made.token_to_id("<end>")]


def test_a_tiktoken_file_needs_its_pattern(tmp_path, tekken):
    ranks = tekken.pieces[1000:3000]
    lines = [base64.b64encode(piece) + b" %d" % rank for rank, piece in enumerate(ranks)]
    path = tmp_path / "small.tiktoken"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=r"small\.pattern"):
        foreign.load(path, "small")
    path.with_suffix(".pattern").write_text(r"\w+|\W+")
    mergeable = {piece: rank for rank, piece in enumerate(ranks)}
    theirs = tiktoken.Encoding("small", pat_str=r"\w+|\W+", mergeable_ranks=mergeable, special_tokens={})
    loaded = foreign.load(path, "small")
    assert [ids.tolist() for ids in loaded.encode_batch(TEXTS)] == [theirs.encode_ordinary(text) for text in TEXTS]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.model", b"no model", "no SentencePiece model"),
        ("a.json", b"{", "not valid JSON"),
        ("b.json", b"[]", "expected"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        foreign.load(tmp_path / name, name)


def test_measures_of_a_foreign_tokenizer_agree_with_a_reference(tekken, documents):
    found = comparison.measured(tekken, documents[:20])
    tokens = sum(len(ids) for ids in tekken.encode_batch(documents[:20]))
    assert found["bytes_per_token"] == sum(len(text.encode()) for text in documents[:20]) / tokens
    assert found["fertility"] == tokens / sum(len(text.split()) for text in documents[:20])
    assert found["round_trip_failures"] == 0


def test_pieces_that_came_and_went(build):
    old, new = (foreign.from_ours(build(vocab_size=size), f"{size}") for size in (700, 1000))
    pieces = comparison.changed(old, new)
    assert len(pieces.came) - len(pieces.went) == 300
    assert not set(pieces.came) & set(old.pieces)


def test_parity_is_one_for_the_reference_and_the_ratio_of_tokens(tmp_path, tekken):
    for name, text in {"en": "the end\nof it", "hi": "हिन्दी में\nवाक्य"}.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    texts = comparison.aligned({name: tmp_path / f"{name}.txt" for name in ("en", "hi")})
    found = comparison.parity(tekken, texts, "en")
    numbers = {name: sum(map(len, tekken.encode_batch(part))) for name, part in texts.items()}
    assert found == {"en": 1.0, "hi": numbers["hi"] / numbers["en"]}
    (tmp_path / "hi.txt").write_text("one line")
    with pytest.raises(UserError, match="hi 1"):
        comparison.aligned({name: tmp_path / f"{name}.txt" for name in ("en", "hi")})


INSIDE = "\u2028\u2029\x0b\x0c\x1c\x1d\x1e\x85\r"  # what str.splitlines also takes for the ends of lines


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_parallel_text_end_at_line_breaks_alone(tmp_path, inside, end):
    """Two aligned files, each with the character in another line: counted by it, both would have three lines."""
    lines = {"en": [f"the{inside}end", "of it", ""], "de": ["das Ende", f"da{inside}von", "x"]}
    for name, of_language in lines.items():
        (tmp_path / name).write_bytes("".join(line + end for line in of_language).encode())
    assert comparison.aligned({name: tmp_path / name for name in lines}) == lines
    (tmp_path / "en").write_bytes(f"the{inside}end{end}of it".encode())  # the last without its end
    assert comparison.aligned({"en": tmp_path / "en"}) == {"en": lines["en"][:2]}


def test_text_that_is_compared_keeps_its_carriage_returns(tmp_path):
    for folder in ("en", "de"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_bytes(b"a\r\nb\rc")
    texts = comparison.aligned({name: tmp_path / name for name in ("en", "de")})
    assert texts == {"en": ["a\r\nb\rc"], "de": ["a\r\nb\rc"]}


def test_text_that_is_no_utf8_or_empty_is_one_message(tmp_path, tekken):
    (tmp_path / "en").write_bytes(b"\xff")
    with pytest.raises(UserError, match="en is not valid UTF-8"):
        comparison.aligned({"en": tmp_path / "en"})
    with pytest.raises(UserError, match="reference language en, found none"):
        comparison.parity(tekken, {"en": [], "de": []}, "en")


@pytest.mark.slow
def test_revisions_are_compared_reported_and_plotted(project: Project):
    project.run("git", "tag", "before")
    project.edit_params(train_tokenizer={"vocab_size": 650})
    project.run("dvc", "repro", "-q", "validate")
    done = project.run("aura", "compare", "models/spm", "HEAD", "before", str(SENTENCEPIECE))
    sizes = next(line for line in done.stdout.splitlines() if "vocab_size" in line)
    assert [part.strip() for part in sizes.split("│")[2:6]] == ["650", "700", "700", "32,768"]
    assert "models/spm -> before" in done.stdout
    assert project.run("aura", "report", "--since", "before").stdout.strip() == "reports/index.html"
    text = (project.folder / "reports/index.html").read_text(encoding="utf-8")
    assert "Changes are since <code>before</code>" in text
    assert text.count('class="change worse"') >= 1  # fewer pieces, fewer bytes per token
    assert "train_tokenizer.vocab_size</th>" in text
    project.run("dvc", "plots", "diff", "HEAD")
    html = (project.folder / "dvc_plots/index.html").read_text()
    assert '"rev": "workspace"' in html
    assert '"rev": "HEAD"' in html


@pytest.mark.parametrize("name", ["v9.9", "HEAD"])
def test_a_revision_that_is_not_to_be_had_says_what_to_do(built: Project, tmp_path, monkeypatch, name):
    built.run("git", "clone", "-q", str(built.folder), str(tmp_path / "clone"))  # no cache, no remote
    monkeypatch.chdir(tmp_path / "clone")
    with pytest.raises(UserError, match=rf"{name}: expected .* Perhaps: dvc fetch --all-commits"):
        named.load(name)
    with warnings.catch_warnings(action="ignore"):  # DVC leaves packs of git open behind its error
        gc.collect()


def test_the_best_of_a_line_is_marked():
    assert compare._best("bytes_per_token", [3.0, 3.5]) == 3.5
    assert compare._best("unused_share", [0.1, 0.2]) == 0.1
    assert compare._best("vocab_size", [1, 2]) is compare._best("tokens", [2, 2]) is None
    assert compare._cell(3.5, 3.5).plain == "3.5000 *"


def test_the_parity_command(tmp_path):
    for name in ("en", "de"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"{name} the end", encoding="utf-8")
    texts = [f"--text={name}={tmp_path / name}" for name in ("en", "de")]
    done = typer.testing.CliRunner().invoke(app, ["parity", str(SENTENCEPIECE), *texts])
    assert done.exit_code == 0
    premiums = {row.split("│")[1].strip(): row.split("│")[2].strip() for row in done.output.splitlines() if "│" in row}
    assert premiums["en"] == "1.00"


def test_a_model_of_ours_encodes_as_our_tokenizer_does(tmp_path, documents, options):
    made = artifact.build_from_texts(documents[:10], options(vocab_size=500, user_symbols=["ab", "<A>"]))
    made.write(tmp_path)
    ours = Tokenizer(tmp_path / "spiece.model")
    texts = ["\u2581\u2581 a\u2581b", "cabbage <A> about", "a  \u2581<A>ab\u2581"]
    expected = [ours.encode(text) for text in texts]
    for loaded in (foreign.load(tmp_path, "folder"), foreign.from_model(made.model, "revision")):
        assert [ids.tolist() for ids in loaded.encode_batch(texts)] == expected
        assert [loaded.decode(ids) for ids in expected] == texts


@pytest.mark.parametrize("entries", [["en"], ["en="], ["en=a", "en=b"]])
def test_parallel_text_has_a_name_and_a_path_each(entries):
    with pytest.raises(UserError, match="--text: expected NAME=PATH, each name once; got"):
        compare.parity([], entries, "en")

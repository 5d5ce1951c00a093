"""The page: it shows what there is, says what there is not, compares like with like, and trusts no text."""

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer.testing

from aura.cli.app import app
from aura.core import checksums, paths
from aura.core.errors import UserError
from aura.corpus import corpus
from aura.report import heads, page
from aura.report import model as models
from tests.conftest import Project
from tests.report.browser import CHROMIUM, visit
from tests.report.conftest import commit, write_lock

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
STAGES = ("extract", "select", "train_tokenizer", "validate", "encode", "conversations", "pretrain", "adapt", "export")
# A page wider than its window, headings that skip a level, tables without a caption, controls without a name.
LAYOUT = """[
  document.documentElement.scrollWidth > document.documentElement.clientWidth,
  [...document.querySelectorAll("h1,h2,h3")].map((e) => +e.tagName[1]).filter((l, i, all) => l > (all[i - 1] ?? 0) + 1),
  [...document.querySelectorAll("table")].filter((e) => !e.caption || !e.querySelector("th[scope]")).length,
  [...document.querySelectorAll("textarea,button,svg")].filter((e) => !e.ariaLabel && !e.textContent.trim()).length,
]"""


def write_head(path: Path, head: dict[str, object], key: str) -> None:
    """Write a manifest whose list no reader of the page should parse."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opening = json.dumps(head, indent=2).removesuffix("\n}")
    path.write_text(f'{opening},\n  "{key}": [\nno JSON at all')


def write_corpus_of(texts: list[str], source: str = "sample") -> None:
    """A corpus of one source as the stages leave it, with names that are hostile, too."""
    totals = {"files": 9, "documents": len(texts) + 2, "bytes_read": 999, "lost": {"too short": 3, EVIL: 1}}
    write_head(paths.EXTRACTED / source / "manifest.json", {"format": 1, "totals": totals}, "files")
    split = {"documents": len(texts), "bytes": 5000}
    counts = {"documents": len(texts) + 2, "dropped": {"duplicate": 2}, "train": split, "held_out": split}
    head = {"format": 1, "hash": {"train": "ab" * 32}, "sources": {source: counts}}
    write_head(paths.CORPUS / "manifest.json", head, "files")
    columns = {
        "text": texts,
        "doc": [f"{EVIL}{place}" for place in range(len(texts))],
        "source": [source] * len(texts),
        "affect": [[0.0] * len(corpus.EMOTIONS)] * len(texts),
        "text_hash": [corpus.text_hash(text.encode()) for text in texts],
    }
    paths.TRAIN.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=corpus.SCHEMA), paths.TRAIN / f"{source}-0000.parquet")


def write_model() -> None:
    """What `pretrain` leaves, in small."""
    plots = paths.PRETRAINING / "plots/metrics"
    plots.mkdir(parents=True)
    for name in ("loss", "bits_per_byte"):
        rows = [f"{step}\t{9 - step / 100}" for step in range(1, 500)]
        (plots / f"{name}.tsv").write_text("\n".join([f"step\t{name}", *rows]) + "\n")
    figures = {"bits_per_byte": 1.5, "loss": 3.25, "parameters": 1000, "bits_per_byte_by_source": {EVIL: 1.5}}
    figures["evaluations"] = {
        "words": {"kind": "cloze", "items": 12, "accuracy": 0.25, "accuracy_stderr": 0.0312},
        EVIL: {"kind": EVIL, "items": EVIL, "bits_per_byte": 1.5, "bits_per_byte_stderr": EVIL},
    }
    (plots / "evaluations/words").mkdir(parents=True)
    (plots / "evaluations/words/accuracy.tsv").write_text("step\taccuracy\n4\t0.1\n8\t0.3\n")
    (paths.PRETRAINING / "metrics.json").write_text(json.dumps(figures | {"context_free_bits_per_byte": 2.5}))
    paths.ADAPTATION.mkdir(parents=True)
    (paths.ADAPTATION / "metrics.json").write_text(json.dumps({"response_loss_fall": 0.25}))
    (paths.PRETRAINING / "samples.txt").write_text(f"=== {EVIL}\nbegun{models.SAID}{EVIL}\n")


@pytest.mark.usefixtures("validated")
def test_a_folder_without_results_says_what_to_run():
    shutil.rmtree("reports")
    shutil.rmtree("models")
    text = page.render()
    assert text.count("not built yet") == len(STAGES) + 3
    for command in ("dvc repro select", "dvc repro train_tokenizer", "dvc repro pretrain"):
        assert f"<code>{command}</code>" in text
    assert "No git commit yet" in text


@pytest.mark.usefixtures("validated")
def test_what_is_there_shows_and_what_is_not_is_named():
    text = page.render()
    assert 'class="made"><a href="#gates"><span class="stage">validate' in text
    assert 'class="unmade"><a href="#model"><span class="stage">pretrain' in text
    assert re.search(r"all \d+ gates hold", text)
    assert "<b>Model: not built yet.</b>" in text


@pytest.mark.usefixtures("validated")
def test_evaluation_sets_show_with_their_standard_errors():
    write_model()
    text = page.render()
    assert "<td>0.2500</td><td>0.0312</td>" in text
    assert "<b>words</b> · accuracy, on a part of the set in training" in text
    assert EVIL not in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH; apt-get install chromium")
@pytest.mark.usefixtures("validated")
def test_a_hostile_document_is_text_on_a_page_that_fits_and_asks_for_nothing(documents):
    write_corpus_of([EVIL + "long" * 5_000, *documents[:7]])
    write_model()
    details = checksums.read_sealed(paths.VALIDATION / "details.json", "make it")
    details["worst"][0]["text"] = details["worst"][0]["doc"] = EVIL
    (paths.VALIDATION / "details.json").write_text(json.dumps(checksums.sealed(details)))
    commit()
    made = page.write()
    text = made.read_text(encoding="utf-8")
    assert len(text.encode()) < 2_000_000
    assert "<script>alert" not in text
    assert "<img" not in text
    shown = "[...document.querySelectorAll('#corpus .page')].map((page) => page.hidden)"
    turned = f"document.querySelector('#corpus [aria-label=\"next document\"]').click(); {shown}"
    for width in (1280, 390):
        found = visit(made, [LAYOUT, shown, turned], width=width, dark=width == 390)
        assert found["answers"] == [[False, [], 0, 0], [False, *[True] * 4], [True, False, *[True] * 3]]
        assert (found["errors"], found["requests"]) == ([], [])


@pytest.mark.usefixtures("validated")
def test_losses_duplicates_and_licences_are_on_the_page(documents):
    shutil.copytree(Path(__file__).parents[2] / "data", "data", dirs_exist_ok=True, ignore=lambda *_: ["extracted"])
    write_corpus_of(documents[:3])
    text = page.render()
    assert ">too short<small>lower extract.min_chars" in text
    assert "Apache" in text[text.index('id="provenance"') :]
    assert "ab" * 32 in text


@pytest.mark.usefixtures("validated")
def test_figures_on_the_same_text_have_a_change_and_a_tone():
    now = json.loads((paths.VALIDATION / "metrics.json").read_text())
    commit(bytes_per_token=now["bytes_per_token"] - 0.5, fertility=now["fertility"] - 1)
    text = page.render()
    assert '<span class="change better">+0.50</span>' in text
    assert '<span class="change worse">+1.00</span>' in text
    assert "on the same held-out text" in text


@pytest.mark.usefixtures("validated")
def test_figures_on_another_text_are_not_called_better_or_worse():
    now = json.loads((paths.VALIDATION / "metrics.json").read_text())
    commit(held_out="b" * 32, bytes_per_token=now["bytes_per_token"] - 0.5)
    write_lock("c" * 32)
    text = page.render()
    assert "on other text</span>" in text
    assert 'class="change better"' not in text
    assert 'class="better">+' not in text
    assert "The held-out text is another" in text


@pytest.mark.parametrize("revision", ["nope", "--all", "HEAD~99"])
@pytest.mark.usefixtures("validated")
def test_a_revision_that_does_not_exist_is_an_error(revision: str):
    commit()
    done = typer.testing.CliRunner().invoke(app, ["report", f"--since={revision}"])
    assert isinstance(done.exception, UserError)
    assert f"expected a commit, branch or tag of this repository, got '{revision}'" in str(done.exception)
    assert not paths.REPORT.exists()


@pytest.mark.parametrize("name", ["details.json", "metrics.json", "plots/sources.csv"])
@pytest.mark.usefixtures("validated")
def test_the_page_of_a_damaged_file_is_refused(name: str):
    path = paths.VALIDATION / name
    path.write_bytes(path.read_bytes().replace(b"1", b"3", 1))
    with pytest.raises(UserError, match=f"{name} was altered.*dvc repro validate.*aura repair"):
        page.render()


@pytest.mark.usefixtures("validated")
def test_a_damaged_manifest_is_one_message():
    for path in (paths.CORPUS / "manifest.json", paths.TOKENS / "manifest.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"format": 1,\n  "files": 3\n')
        with pytest.raises(UserError, match=f"{path} is damaged .*aura repair; dvc repro"):
            page.render()
        path.unlink()


@pytest.mark.parametrize("rows", [["4000,2.87", "8000,3.06", "16000,3.16"], ["4000,2.87"]])
@pytest.mark.usefixtures("validated")
def test_the_vocabulary_curve_has_a_mark_and_a_tick_for_each_size(rows: list[str]):
    assert "what a larger vocabulary" not in page.render()
    paths.VOCABULARY_CURVE.parent.mkdir(parents=True)
    paths.VOCABULARY_CURVE.write_text("\n".join(["vocab_size,bytes_per_token", *rows]) + "\n")
    text = page.render()
    figure = text[text.index("what a larger vocabulary") :].partition("</figure>")[0]
    assert figure.count('class="mark"') == len(rows)
    assert [f">{number}k</text>" in figure for number in (4, 8, 16)] == [True] * len(rows) + [False] * (3 - len(rows))


def test_of_a_long_table_some_rows_are_read_the_last_among_them(tmp_path: Path):
    path = tmp_path / "loss.tsv"
    path.write_text("step\tloss\n" + "".join(f"{step}\t{step / 7}\n" for step in range(1, 200_001)))
    rows = heads.of_table(path)
    steps = [int(row["step"]) for row in rows]
    assert heads.ROWS / 2 < len(steps) < 1.1 * heads.ROWS
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (1, 200_000)
    assert all(float(row["loss"]) == int(row["step"]) / 7 for row in rows)


def test_the_page_of_the_built_pipeline_has_every_stage(built: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(built.folder)
    text = page.render("HEAD")
    assert text.count('<li class="made">') == len(STAGES)
    assert "not built yet" not in text
    assert all(f">{source}<" in text for source in ("books", "posts", "pinned", "sample"))
    assert "conversations, docstrings" in text
    assert "Nothing changed" in text
    assert built.run("git", "rev-parse", "HEAD").stdout.strip() in text


@pytest.mark.usefixtures("validated")
def test_a_missed_gate_stands_out_with_its_limit_and_the_place_to_look():
    details = checksums.read_sealed(paths.VALIDATION / "details.json", "make it")
    details["gates"][0] |= {"holds": False, "limit": "min_of_all 9.5", "look": "plots/here.csv"}
    (paths.VALIDATION / "details.json").write_text(json.dumps(checksums.sealed(details)))
    text = page.render()
    assert f"1 of {len(details['gates'])} gates missed" in text
    assert 'class="alarm"><a href="#gates">' in text
    missed = text[text.index("Missed gates") :].partition("</table>")[0]
    assert "<small>min_of_all 9.5</small>" in missed
    assert "plots/here.csv" in missed


@pytest.mark.usefixtures("validated")
@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        (
            paths.PRETRAINING / "metrics.json",
            '{"bits_per_byte": 2,"bits_per_byte_by_source": {"a": []}}',
            "a number",
        ),
        (paths.LANGUAGE_MODEL / "config.json", '{"model": {}}', "layers is missing"),
        (paths.TOKENS / "manifest.json", '{"counts": {"train": 3}}', "counts.train"),
        (paths.CORPUS / "manifest.json", '{"sources": {"sample": {"dropped": {"a": "x"}}}}', "dropped.a"),
        (paths.CORPUS / "manifest.json", '{"hash": 3}', "hash: expected"),
        (
            paths.EXTRACTED / "sample/manifest.json",
            '{"totals": {"files": 1, "documents": 1, "bytes_read": 1, "lost": {}}, "warnings": {"worst": [3]}}',
            "worst",
        ),
        (Path("versions.json"), "{", "aura init --update"),
        (Path("params.yaml"), "\udcff", "not valid UTF-8"),
    ],
)
def test_a_value_of_another_shape_is_named(path: Path, content: str, told: str):
    write_model()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(UserError, match=told):
        page.render()


@pytest.mark.usefixtures("validated")
def test_numbers_that_cannot_be_drawn_are_left_out():
    write_model()
    table = paths.PRETRAINING / "plots/metrics/loss.tsv"
    for values in ("nan\n2\tinf", "1e308\n2\t-1e308", "5\n1\t5", "x"):
        table.write_text(f"step\tloss\n1\t{values}\n")
        page.render()
    paths.VOCABULARY_CURVE.parent.mkdir(parents=True)
    for row in ("", "0,0\n", "1,nan\n", "x,1\n"):
        paths.VOCABULARY_CURVE.write_text(f"vocab_size,bytes_per_token\n{row}")
        page.render()
    (paths.PRETRAINING / "metrics.json").write_text(f'{{"bits_per_byte": NaN, "loss": 1{"0" * 400}}}')
    Path("params.yaml").write_text('extract: {sources: null}\nshown: "\\ud800"')
    assert page.write().exists()

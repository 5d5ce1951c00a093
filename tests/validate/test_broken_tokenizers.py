"""Ten tokenizers, each broken on purpose in one way: validation stops each and names the defect; a good one passes."""

import json
from io import BytesIO
from pathlib import Path

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core.errors import UserError
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact, train
from aura.train_tokenizer.counts import count_words
from aura.validate.options import Validate
from aura.validate.validation import validate

LIMITS = Validate(
    min_bytes_per_token=1.5,
    max_fertility=None,
    max_unknown_share=0.0,
    max_byte_fallback_share=None,
    max_group_byte_fallback_share=0.3,
    max_unused_share=0.25,
    max_unreachable_share=0.01,
    waive=[],
)
RUSSIAN = "Съешь ещё этих мягких французских булок, да выпей чаю. Широкая электрификация южных губерний. " * 30


@pytest.fixture(scope="module")
def texts(documents) -> list[str]:
    return [*documents, RUSSIAN * 12, RUSSIAN * 6]


@pytest.fixture(scope="module")
def held_out(texts, tmp_path_factory, write_corpus) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "held_out"
    write_corpus(folder, texts[-12:])
    write_corpus(folder.with_name("train"), texts)
    return folder


@pytest.fixture(scope="module")
def good(texts, options) -> dict[str, bytes]:
    """The files of a tokenizer."""
    return artifact.build_from_texts(texts, options()).files()


def ids(model: bytes, text: str) -> list[int]:
    found: list[int] = sentencepiece.SentencePieceProcessor(model_proto=model).Encode(text)
    return found


def judge(folder: Path, files: dict[str, bytes], held_out: Path) -> str:
    """What validation says of a tokenizer: nothing if it passes, else the missed gates or the error."""
    (folder / "spm").mkdir()
    for name, content in files.items():
        (folder / "spm" / name).write_bytes(content)
    try:
        training = held_out.with_name("train")
        gates = validate(folder / "spm/spiece.model", held_out, LIMITS, folder / "out", training=training)
    except UserError as error:
        said = str(error)
    else:
        assert (folder / "out/metrics.json").exists()
        said = "; ".join(f"{gate.told}, {gate.look}" for gate in gates if not gate.holds)
        assert ("missed" in json.loads((folder / "out/passed.json").read_text())) == (said != "")
    return said


def changed(files: dict[str, bytes], change) -> dict[str, bytes]:
    model = model_pb2.ModelProto.FromString(files["spiece.model"])
    change(model)
    # Without the golden encodings, at which loading would stop before anything else is looked at.
    others = {name: content for name, content in files.items() if name != "golden.json"}
    return others | {"spiece.model": model.SerializeToString()}


def retrained(texts: list[str], options, **settings) -> dict[str, bytes]:
    """What SentencePiece makes with other settings than ours."""
    written = BytesIO()
    rows = (f"{row['text']}\t{row['count']}" for row in count_words(texts).table.to_pylist())
    fixed = train.FIXED | {"sentence_iterator": rows, "model_writer": written}
    sentencepiece.SentencePieceTrainer.train(
        **fixed
        | {"vocab_size": 1000, "model_type": "bpe", "control_symbols": list(train.symbols_of(options()).control)}
        | settings
    )
    return {"spiece.model": written.getvalue()}


def piece(model, text: str):
    return next(entry for entry in model.pieces if entry.piece == text)


def test_a_good_tokenizer_passes(tmp_path, good, held_out):
    assert judge(tmp_path, good, held_out) == ""


def test_missing_byte_fallback(tmp_path, texts, options, held_out):
    assert "without byte fallback" in judge(tmp_path, retrained(texts, options, byte_fallback=False), held_out)


def test_dropped_white_space(tmp_path, texts, options, held_out):
    broken = retrained(texts, options, remove_extra_whitespaces=True)
    assert "adds or removes spaces" in judge(tmp_path, broken, held_out)


def test_a_duplicated_piece(tmp_path, good, held_out):
    broken = changed(good, lambda model: setattr(model.pieces[900], "piece", model.pieces[800].piece))
    said = judge(tmp_path, broken, held_out)
    repeated = model_pb2.ModelProto.FromString(good["spiece.model"]).pieces[800].piece
    assert f"repeats the piece {repeated!r}" in said


def test_a_special_token_that_text_can_forge(tmp_path, good, held_out):
    user = model_pb2.ModelProto.SentencePiece.USER_DEFINED
    said = judge(tmp_path, changed(good, lambda model: setattr(piece(model, "<SYSTEM>"), "type", user)), held_out)
    assert "forgeable_special_tokens" in said
    assert "<SYSTEM>" in said


def test_one_languages_characters_missing(tmp_path, documents, options, held_out):
    english = [text for text in documents if text.isascii()]
    said = judge(tmp_path, artifact.build_from_texts(english, options()).files(), held_out)
    assert "group_byte_fallback_share" in said
    assert "script Cyrillic" in said


def test_swapped_ids(tmp_path, good, held_out):
    def swap(model):
        one, other = model.pieces[500], model.pieces[501]
        (one.piece, one.score), (other.piece, other.score) = (other.piece, other.score), (one.piece, one.score)

    said = judge(tmp_path, changed(good, swap), held_out)
    assert "moved_ids" in said
    assert "id 500 is" in said
    assert "and 1 more ids differ" in said


def test_a_stale_golden_file(tmp_path, good, held_out):
    golden = json.loads(good["golden.json"])
    golden["cases"][3]["ids"] = [500, 501, 502]
    said = judge(tmp_path, good | {"golden.json": json.dumps(golden).encode()}, held_out)
    assert "golden.json: expected 'a' to have the ids [500, 501, 502], got" in said


def test_the_golden_file_of_another_model(tmp_path, good, held_out):
    said = judge(tmp_path, good | {"golden.json": b'{"format": 1, "tokenizer": "another", "cases": []}'}, held_out)
    assert "golden.json is not of this model" in said


def test_pieces_that_no_text_uses(tmp_path, texts, options, held_out):
    upper = [text.upper() for text in texts]
    dead = artifact.build_from_texts([*upper, *upper, *texts[::10]], options(vocab_size=2000)).files()
    assert "unused_share" in judge(tmp_path, dead, held_out)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_a_large_vocabulary_of_which_the_corpus_uses_all_passes(tmp_path, texts, options, held_out, model_type):
    large = artifact.build_from_texts(texts, options(vocab_size=6000, model_type=model_type)).files()
    assert judge(tmp_path, large, held_out) == ""


def test_a_normalisation_that_loses_case(tmp_path, texts, options, held_out):
    said = judge(tmp_path, retrained(texts, options, normalization_rule_name="nmt_nfkc_cf"), held_out)
    assert "changes characters (the normalisation 'nmt_nfkc_cf'" in said


def test_a_truncated_file(tmp_path, good, held_out):
    said = judge(tmp_path, good | {"spiece.model": good["spiece.model"][:-5000]}, held_out)
    assert "damaged" in said or "cut off" in said


def judged_export(folder: Path, files: dict[str, bytes], held_out: Path, change) -> str:
    exported = json.loads(files["tokenizer.json"])
    change(exported)
    return judge(folder, files | {"tokenizer.json": json.dumps(exported).encode()}, held_out)


def test_an_export_through_which_text_forges_special_tokens(tmp_path, options, held_out, documents):
    lower = artifact.build_from_texts([text.lower() + "<p>" for text in documents], options()).files()

    def as_before(exported):
        """As aura once wrote it: nothing keeps a character without a piece apart."""
        exported["pre_tokenizer"]["pretokenizers"] = exported["pre_tokenizer"]["pretokenizers"][:1]

    said = judged_export(tmp_path, lower, held_out, as_before)
    assert "other_export" in said
    assert "tokenizer.json makes the special token <" in said


def test_an_export_with_other_ids(tmp_path, good, held_out):
    def swap(exported):
        vocabulary = exported["model"]["vocab"]
        vocabulary[500], vocabulary[501] = vocabulary[501], vocabulary[500]

    said = judged_export(tmp_path, good, held_out, swap)
    assert "other_export" in said
    assert "tokenizer.json gives the text" in said


def test_an_export_with_lost_special_tokens(tmp_path, good, held_out):
    said = judged_export(tmp_path, good, held_out, lambda exported: exported.update(added_tokens=[]))
    assert "other_export" in said
    assert "with special tokens" in said or "makes the special token" in said


def test_an_export_with_one_token_more(tmp_path, good, held_out):
    token = {"id": 9999, "content": "<|never seen|>", "single_word": False, "lstrip": False, "rstrip": False}
    token |= {"normalized": False, "special": True}
    said = judged_export(tmp_path, good, held_out, lambda exported: exported["added_tokens"].append(token))
    assert "other_export" in said
    assert "for '<|never seen|>', and the model None" in said


def test_an_export_that_fails_on_a_text(tmp_path, good, held_out):
    said = judged_export(tmp_path, good, held_out, lambda exported: exported["model"].pop("unk_id"))
    assert "other_export" in said
    assert "`unk_id` is missing" in said


def test_an_export_that_nothing_loads(tmp_path, good, held_out):
    said = judge(tmp_path, good | {"tokenizer.json": b"{}"}, held_out)
    assert "tokenizer.json: expected a file that Hugging Face's tokenizers loads" in said


def test_a_copy_for_gguf_of_another_model(tmp_path, good, held_out):
    said = judge(tmp_path, good | {"tokenizer.model": b"another"}, held_out)
    assert "other_copy" in said
    assert "expected a copy of spiece.model" in said


def test_the_good_one_is_as_others_load_it(tmp_path, good):
    (tmp_path / "spiece.model").write_bytes(good["spiece.model"])
    assert Tokenizer.load(tmp_path / "spiece.model").encode("the end") == ids(good["spiece.model"], "the end")

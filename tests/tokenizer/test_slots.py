"""Special tokens of one's own: named at training or after it, with the same bytes, and never out of text."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers as hf
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core import checksums
from aura.core.errors import UserError
from aura.project import naming, whole_params
from aura.tokenizer import naming_proof, slots
from aura.tokenizer.golden import TEXTS, WITH_SPECIAL
from aura.tokenizer.symbols import BASIC, ROLES, symbols
from aura.tokenizer.tokenizer import EXPORTED, Tokenizer
from aura.tokens import token_shards
from aura.tokens.token_shards import TokenShards
from aura.train_tokenizer import artifact
from aura.validate import gates, integrity
from tests.conftest import REPOSITORY

NAMES = ["<|im_start|>", "<|im_end|>", "<tool>", "[FIM]", "</s>"]
TEXT = "".join(NAMES) + " <USER> <reserved_0> <|im_start|>user\nHi 🙂<|im_end|>"


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def made(request, documents, options):
    """The same training with names and without."""
    texts = documents[:20]
    return {
        bool(names): artifact.build_from_texts(
            texts, options(vocab_size=600, model_type=request.param, extra_special_tokens=names)
        )
        for names in (NAMES, [])
    }


def test_names_fill_the_slots_in_order_and_move_no_id(made):
    named, plain = (Tokenizer.from_bytes(made[has].model) for has in (True, False))
    first = len(BASIC) + len(ROLES)
    assert [named.piece(token) for token in range(first + 16)] == [
        *BASIC, *ROLES, *NAMES, *(f"<reserved_{number}>" for number in range(5, 16)),
    ]  # fmt: skip
    assert all(named.is_special(first + number) for number in range(16))
    rest = range(first + len(NAMES), 600)
    assert [named.piece(token) for token in rest] == [plain.piece(token) for token in rest]
    assert made[True].config["special_tokens"] == {named.piece(token): token for token in range(first + 16)}


def test_naming_later_gives_the_bytes_of_naming_at_training(made):
    assert slots.named(made[False].model, NAMES) == made[True].model
    assert slots.named(slots.named(made[False].model, NAMES[:2]), NAMES[2:]) == made[True].model
    assert slots.named(made[True].model, []) == made[True].model


def test_a_name_that_would_change_ids_is_not_proven(made):
    named, plain = (Tokenizer.from_bytes(made[has].model) for has in (True, False))
    assert naming_proof.prove(plain, named, NAMES)
    model = model_pb2.ModelProto.FromString(made[True].model)
    place = next(place for place, entry in enumerate(model.pieces) if entry.piece == "a")
    for change in ("piece", "score"):
        model = model_pb2.ModelProto.FromString(made[True].model)
        setattr(model.pieces[place], change, "\u0e00" if change == "piece" else model.pieces[place].score - 1)
        with pytest.raises(UserError, match=r"a name changed ids: expected 'a'|another encoding_sha256"):
            naming_proof.prove(plain, Tokenizer.from_bytes(model.SerializeToString()), NAMES)
    with pytest.raises(UserError, match=r"expected 2 ids to get a name, got other pieces for the ids \[14, 15, 16"):
        naming_proof.prove(plain, named, NAMES[:2])


def test_the_identity_in_tokens_and_models_is_that_of_the_tokenizer_without_names(made, tmp_path):
    named, plain = (Tokenizer.from_bytes(made[has].model) for has in (True, False))
    assert named.sha256 != plain.sha256
    assert named.encoding_sha256 == plain.encoding_sha256 == plain.sha256
    for split in ("train", "held_out"):
        (tmp_path / split).mkdir()
    token_shards.write_manifest(
        tmp_path, plain.encoding_sha256, plain.vocab_size, {"add_bos": True, "add_eos": True}, []
    )
    assert TokenShards(tmp_path, named.encoding_sha256).entries == []


def test_text_makes_no_named_token_and_encodes_as_before(made):
    named, plain = (Tokenizer.from_bytes(made[has].model) for has in (True, False))
    ids = named.encode(TEXT)
    assert ids == plain.encode(TEXT)
    assert not any(named.is_special(token) for token in ids)
    assert named.decode(ids) == TEXT
    exported = hf.Tokenizer.from_str(made[True].files()["tokenizer.json"].decode())
    exported.encode_special_tokens = True
    assert exported.encode(TEXT, add_special_tokens=False).ids == ids


def test_where_they_are_allowed_they_are_tokens(made):
    named = Tokenizer.from_bytes(made[True].model)
    start, end = (named.proc.piece_to_id(name) for name in NAMES[:2])
    ids = named.encode("<|im_start|>Hi<|im_end|>", allowed_special={"<|im_start|>", "<|im_end|>"})
    assert ids == [start, *named.encode("Hi"), end]
    assert named.decode(ids) == "Hi"
    assert named.decode(np.array(ids), keep_special=True) == "<|im_start|>Hi<|im_end|>"
    exported = hf.Tokenizer.from_str(made[True].files()["tokenizer.json"].decode())
    assert exported.encode("<|im_start|>Hi<|im_end|>", add_special_tokens=False).ids == ids
    with pytest.raises(ValueError, match="allowed_special"):
        named.encode("x", allowed_special={"<reserved_0>"})


def test_a_folder_becomes_another_with_the_names(made, tmp_path):
    for has in (True, False):
        (tmp_path / str(has)).mkdir()
        for name, content in made[has].files().items():
            (tmp_path / str(has) / name).write_bytes(content)
        checksums.write(tmp_path / str(has))
    ids, proof = naming.in_folder(tmp_path / "False", tmp_path / "new", NAMES)
    assert proof[0].startswith(f"ids of {len(TEXTS) + len(WITH_SPECIAL)} golden texts equal")
    assert proof[1] == f"595 of 600 pieces equal, and {len(NAMES)} named"
    assert ids == {name: 14 + number for number, name in enumerate(NAMES)}
    written, expected = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in (tmp_path / "new", tmp_path / "True")
    )
    assert written == expected
    assert json.loads(written["spiece_config.json"])["options"]["extra_special_tokens"] == NAMES
    assert not integrity.faults(Tokenizer(tmp_path / "new/spiece.model"), tmp_path / "new")
    with pytest.raises(UserError, match="is there already"):
        naming.in_folder(tmp_path / "False", tmp_path / "new", NAMES)
    with pytest.raises(UserError, match=r"at most 11 names, as many as reserved slots without a name; got 12"):
        naming.in_folder(tmp_path / "new", tmp_path / "more", [f"<more_{number}>" for number in range(12)])
    assert not (tmp_path / "more").exists()


UNUSABLE = {
    "a": "two or more characters",
    "": "two or more characters",
    "<a b>": "no white space",
    "<a\n>": "nothing that cannot be printed",
    "<\0>": "nothing that cannot be printed",
    "<\ud800>": "nothing that cannot be printed",
    "<\u2581>": "own spelling of the space",
    "<0x0A>": "the name of a byte piece",
    "<reserved_3>": "how slots without a name are called",
    "<eos>": "a fixed special token",
    "<USER>": "a fixed special token",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_names_that_no_special_token_can_have_are_refused(made, name):
    for give in (
        lambda names: slots.named(made[False].model, names),
        lambda names: symbols(special_tokens=True, reserved_tokens=4, user_symbols=[], extra_special_tokens=names),
    ):
        with pytest.raises(UserError, match=f"cannot have this name: .*{UNUSABLE[name]}"):
            give(["<fine>", name])
        with pytest.raises(UserError, match="named twice"):
            give(["<fine>", "<fine>"])


def test_a_name_that_is_a_piece_already_is_refused(made):
    pieces = [line.partition("\t")[0] for line in made[False].vocabulary.split("\n")[400:]]
    for taken in (next(piece for piece in pieces if len(piece) > 1 and piece.isalpha()), NAMES[0]):
        with pytest.raises(UserError, match=r"it is the piece of id \d+ already"):
            slots.named(made[True].model, [taken])


def test_a_name_that_training_may_learn_is_told_before_it(made, documents, options, capsys, monkeypatch):
    pieces = [line.partition("\t")[0] for line in made[False].vocabulary.split("\n")[400:]]
    learnt = next(piece for piece in pieces if len(piece) > 1 and piece.isalpha())
    monkeypatch.setattr(artifact, "_trained", lambda *_: pytest.fail("training began"))
    names = [*NAMES, learnt, "averyverylongword"]
    with pytest.raises(pytest.fail.Exception):
        artifact.build_from_texts(
            [*documents[:20], "averyverylongword"], options(extra_special_tokens=names, max_piece_chars=16)
        )
    told = capsys.readouterr().err
    assert f"the text holds the special token {learnt!r}" in told
    assert told.count("the text holds the special token") == 1


def test_names_need_slots_and_are_no_user_symbols():
    with pytest.raises(UserError, match=r"at most 1 extra_special_tokens.* got 2\. Raise reserved_tokens to 2"):
        symbols(special_tokens=True, reserved_tokens=1, user_symbols=[], extra_special_tokens=["<a>", "<b>"])
    with pytest.raises(UserError, match="'<a>' is among both extra_special_tokens"):
        symbols(special_tokens=True, reserved_tokens=4, user_symbols=["<a>"], extra_special_tokens=["<a>"])
    with pytest.raises(UserError, match=r"'<reserved_0>' cannot work: it is the number of a slot, .* '<a>'"):
        symbols(special_tokens=True, reserved_tokens=4, user_symbols=["<reserved_0>"], extra_special_tokens=["<a>"])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("listed", ["[]      ", "['<old>']"])
def test_names_change_one_line_of_params(tmp_path, monkeypatch, end, listed):
    text = (REPOSITORY / "params.yaml").read_bytes().decode().replace("extra_special_tokens: []", "KEY: " + listed)
    before = text.replace("KEY", "extra_special_tokens").replace("\n", end) + f"# {end}"
    (tmp_path / "params.yaml").write_bytes(before.encode())
    monkeypatch.chdir(tmp_path)
    assert naming.in_pipeline(NAMES[:2]) == ({}, []), "no tokenizer is there"
    after = (tmp_path / "params.yaml").read_bytes().decode()
    changed = [
        line[1]
        for line in zip(before.splitlines(keepends=True), after.splitlines(keepends=True), strict=True)
        if line[0] != line[1]
    ]
    assert len(changed) == 1
    assert whole_params.load().train_tokenizer.extra_special_tokens == ["<old>"] * ("old" in listed) + NAMES[:2]


def test_an_export_of_before_is_written_again_without_training(made, tmp_path):
    made[True].write(tmp_path)
    expected = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in (EXPORTED, "tokenizer_config.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=f"aura export-tokenizer {tmp_path}"):
        integrity.faults(Tokenizer(tmp_path / "spiece.model"), tmp_path)
    (tmp_path / "spiece.vocab").write_text("evidence of another fault, which stays")
    assert naming.export_again(tmp_path)[1] is False
    changed = expected | {"spiece.vocab": (tmp_path / "spiece.vocab").read_bytes()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == changed


def test_a_gate_on_the_export_names_the_way_to_write_it_again(tmp_path):
    (tmp_path / EXPORTED).write_text("{}")
    faults = [integrity.Fault("other_export", "tokenizer.json makes a special token")]
    [gate] = [gate for gate in gates._files(SimpleNamespace(faults=faults), tmp_path) if gate.measure == "other_export"]
    assert not gate.holds
    assert f"aura export-tokenizer {tmp_path}" in gate.remedy

"""Adopted tokenizers: kept as they are, measured, encoded with, pretrained on, exported."""

import json
from functools import partial
from pathlib import Path

import mistral_common
import pytest
import sentencepiece
import tokenizers
import tokenizers.decoders
import tokenizers.models
import tokenizers.pre_tokenizers
import tokenizers.trainers
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.core import files
from aura.core.errors import UserError
from aura.encode.encoding import encode_corpus
from aura.encode.options import Encode
from aura.export.llama import export
from aura.pretrain.pretrain import pretrain
from aura.storage.cache import Cache
from aura.tokenizer import opening
from aura.tokenizer.adopted import AdoptedTokenizer
from aura.tokenizer.tokenizer import Tokenizer
from aura.tokens.token_shards import TokenShards
from aura.train_tokenizer.adoption import Base, More, adopt
from aura.train_tokenizer.corpus_counts import count_texts
from aura.train_tokenizer.extension import extended
from aura.train_tokenizer.segments import Splitting
from aura.validate import gates as gates_module
from aura.validate.validation import validate
from tests.conftest import stdlib_texts
from tests.mini_tokens import PARAMS, MiniTokens, tiny

DATA = Path(mistral_common.__file__).parent / "data"
MISTRAL = (
    "tokenizer.model.v1",
    "mistral_instruct_tokenizer_240216.model.v2",
    "mistral_instruct_tokenizer_240323.model.v3",
    "mistral_instruct_tokenizer_241114.model.v7",
    "tekken_240911.json",
)
WAIVED = ["bytes_per_token", "byte_fallback_share", "group_byte_fallback_share", "unused_share", "unreachable_share"]


def adopted(path: Path, output: Path, **roles: str | int | None):
    return adopt(Base(path, path.name, roles), output)


@pytest.fixture(scope="module")
def old_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made with SentencePiece's default flags: <unk> <s> </s> first, nmt_nfkc, a space before each text."""
    folder = tmp_path_factory.mktemp("old")
    text = folder / "text.txt"
    text.write_text("\n".join(line for part in stdlib_texts(60) for line in part.splitlines() if line.strip()))
    train = partial(sentencepiece.SentencePieceTrainer.train, input=str(text), minloglevel=2, hard_vocab_limit=False)
    train(model_prefix=str(folder / "old"), vocab_size=500)
    train(model_prefix=str(folder / "forging"), vocab_size=400, user_defined_symbols=["<user>"])
    return folder / "old.model"


def through_the_stages(mini: MiniTokens, file: Path, folder: Path, waive: list[str]) -> AdoptedTokenizer:
    """Adopt, validate, encode, pretrain and export as the stages do; returns the tokenizer of the exported model."""
    spm = folder / "spm"
    tokenizer = adopted(file, spm)
    limits = PARAMS.validation.model_copy(update={"waive": waive})
    gates = validate(spm / "spiece.model", mini.corpus / "held_out", limits, folder / "validate")
    assert [gate.told for gate in gates if not gate.holds] == []
    cache = Cache(folder / "cache")
    encode_corpus(
        mini.corpus, spm, folder / "validate/passed.json", folder / "tokens", Encode(add_bos=True, add_eos=True), cache
    )
    options = tiny(steps=2, checkpoint_folder=str(folder / "checkpoints"), batch_size=2, eval_every=2)
    pretrain(folder / "tokens", spm / "spiece.model", folder / "lm", folder / "reports", options)
    export(folder / "lm", spm, folder / "hf", add_bos=True)
    card = (folder / "hf/README.md").read_text()
    record = files.read_json(folder / "validate/passed.json", "")
    assert all(name in card for name in record.get("waived", []))
    there = opening.load(folder / "hf")
    assert isinstance(there, AdoptedTokenizer)
    assert there.sha256 == tokenizer.sha256 == record["tokenizer"]
    return there


def test_an_old_model_goes_through_the_stages_once_its_losses_are_waived(
    made: MiniTokens, old_model: Path, tmp_path: Path
):
    adopted(old_model, tmp_path / "spm")
    limits = PARAMS.validation.model_copy(update={"waive": WAIVED})
    gates = validate(tmp_path / "spm/spiece.model", made.corpus / "held_out", limits, tmp_path / "validate")
    missed = {gate.measure: gate.remedy for gate in gates if not gate.holds}
    assert missed.keys() == {"round_trip_failures", "unknown_share"}
    assert "add round_trip_failures to validate.waive" in missed["round_trip_failures"]
    waive = [*WAIVED, "round_trip_failures", "unknown_share"]
    there = through_the_stages(made, old_model, tmp_path, waive)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(old_model))
    texts = stdlib_texts(30)
    assert [ids.tolist() for ids in there.encode_batch(texts)] == processor.Encode(texts)
    assert "Its tokenizer was adopted as it is from `old.model`" in (tmp_path / "hf/README.md").read_text()


def test_no_file_holds_a_path_of_a_machine(old_model: Path, tmp_path: Path):
    place = tmp_path / "place/old.model"
    place.parent.mkdir()
    place.write_bytes(old_model.read_bytes())
    adopt(Base(place, str(place), {}), tmp_path / "spm")
    assert files.read_json(tmp_path / "spm/adopted.json", "")["from"] == "old.model"
    assert not any(str(tmp_path).encode() in file.read_bytes() for file in (tmp_path / "spm").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTRAL)
def test_a_model_is_pretrained_on_each_of_mistrals(made: MiniTokens, tmp_path: Path, name: str):
    there = through_the_stages(made, DATA / name, tmp_path, WAIVED)
    if name in MISTRAL[2:4]:  # better no tokenizer.json than one with other ids
        assert not (tmp_path / "hf/tokenizer.json").exists()
        assert not (tmp_path / "hf/tokenizer.model").exists()
        return
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    texts = [*stdlib_texts(50), "  two  spaces ", "\n\n", "Grüße 中文 한국어"]
    for text, ids in zip(texts, there.encode_batch(texts), strict=True):
        assert theirs(text, split_special_tokens=True)["input_ids"] == [1, *ids.tolist()]


def test_a_folder_holds_the_file_as_it_is_and_is_verified(tmp_path: Path):
    folder = tmp_path / "spm"
    adopted(DATA / MISTRAL[0], folder)
    assert (folder / "spiece.model").read_bytes() == (DATA / MISTRAL[0]).read_bytes()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    adopted(DATA / MISTRAL[0], folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    record = folder / "adopted.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"file": "../../etc/passwd"}))
    with pytest.raises(UserError, match=r"adopted\.json was altered"):
        opening.load(folder)
    (folder / "_SHA256SUMS").unlink()
    with pytest.raises(UserError, match=r"adopted\.json: file: expected one of"):
        opening.load(folder)
    record.write_text(json.dumps(json.loads(before["adopted.json"]) | {"roles": {"bos": "x"}}))
    with pytest.raises(UserError, match="roles: expected ids"):
        opening.load(folder)


def test_roles_are_named_by_tokens_or_ids(tmp_path: Path):
    file = DATA / MISTRAL[3]
    tokenizer = adopted(file, tmp_path / "spm", user="[INST]", assistant=4, pad="</s>", bos=None)
    assert (tokenizer.roles["user"], tokenizer.roles["assistant"], tokenizer.pad_id) == (3, 4, 2)
    assert tokenizer.bos_id is None
    assert opening.load(tmp_path / "spm").roles == tokenizer.roles
    with pytest.raises(UserError, match=r"train_tokenizer\.roles\.eos: expected the name of a token of .*got '</S>'"):
        adopted(file, tmp_path / "other", eos="</S>")
    with pytest.raises(UserError, match=r"train_tokenizer\.roles\.bos: expected the name of a token"):
        adopted(file, tmp_path / "other", bos="")
    assert adopted(file, tmp_path / "letter", bos="A").bos_id == 29509  # which its byte spells, too
    with pytest.raises(UserError, match="the role eos: expected an id from 0 to 32767, got 99999"):
        adopted(file, tmp_path / "other", eos=99999)
    assert not (tmp_path / "other").exists()


def test_a_role_that_text_can_write_is_a_gate_of_its_own(made: MiniTokens, old_model: Path, tmp_path: Path):
    tokenizer = adopted(old_model.with_name("forging.model"), tmp_path / "spm", user="<user>")
    assert tokenizer.forgeable == {"<user>": tokenizer.roles["user"]}
    place = tmp_path / "spm/spiece.model"
    gates = validate(place, made.corpus / "held_out", PARAMS.validation, tmp_path / "validate")
    [gate] = [gate for gate in gates if gate.measure == "forgeable_special_tokens"]
    assert (gate.holds, "'<user>'" in gate.look) == (False, True)


def test_documents_get_no_marks_that_the_tokenizer_lacks(made: MiniTokens, tmp_path: Path):
    tokenizer = adopted(DATA / MISTRAL[0], tmp_path / "spm", bos=None)
    files.write_json(tmp_path / "passed.json", {"tokenizer": tokenizer.sha256})
    layout = Encode(add_bos=True, add_eos=True)
    with pytest.raises(UserError, match=r"encode\.add_bos: true: expected a tokenizer with the role bos"):
        encode_corpus(made.corpus, tmp_path / "spm", tmp_path / "passed.json", tmp_path / "tokens", layout, None)
    tokenizer = adopted(DATA / MISTRAL[0], tmp_path / "spm", eos=None)
    files.write_json(tmp_path / "passed.json", {"tokenizer": tokenizer.sha256})
    with pytest.raises(UserError, match=r"encode\.add_eos: true: expected a tokenizer with the role eos"):
        encode_corpus(made.corpus, tmp_path / "spm", tmp_path / "passed.json", tmp_path / "tokens", layout, None)


def test_other_roles_make_other_token_shards_from_one_cache(made: MiniTokens, old_model: Path, tmp_path: Path):
    cache, layout, firsts, hashes = Cache(tmp_path / "cache"), Encode(add_bos=True, add_eos=True), [], []
    for name, roles in (("one", {}), ("other", {"bos": "</s>"})):
        tokenizer = adopted(old_model, tmp_path / "spm", **roles)
        files.write_json(tmp_path / "passed.json", {"tokenizer": tokenizer.sha256})
        encode_corpus(made.corpus, tmp_path / "spm", tmp_path / "passed.json", tmp_path / name, layout, cache)
        shards = TokenShards(tmp_path / name, tokenizer.encoding_sha256)
        firsts.append(next(shards.documents("train"))[0][0])
        hashes.append(shards.sha256)
    assert firsts == [1, 2]
    assert hashes[0] != hashes[1]
    with pytest.raises(UserError, match="made by the tokenizer"):
        TokenShards(tmp_path / "one", tokenizer.encoding_sha256)


def test_a_tokenizer_without_special_tokens_encodes_a_corpus(made: MiniTokens, tmp_path: Path):
    plain = tokenizers.Tokenizer(tokenizers.models.BPE())
    plain.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, show_progress=False, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()
    )
    plain.train_from_iterator(stdlib_texts(20), trainer)
    plain.add_tokens(["naïve"])
    plain.save(str(tmp_path / "tokenizer.json"))
    tokenizer = adopted(tmp_path / "tokenizer.json", tmp_path / "spm")
    assert tokenizer.byte_lengths[tokenizer.encode("naïve é")].sum() == len("naïve é".encode())
    files.write_json(tmp_path / "passed.json", {"tokenizer": tokenizer.sha256})
    layout = Encode(add_bos=False, add_eos=False)
    shards = encode_corpus(
        made.corpus, tmp_path / "spm", tmp_path / "passed.json", tmp_path / "tokens", layout, Cache(tmp_path / "cache")
    )
    assert sum(entry.tokens for entry in shards) > 1000


def test_tokenizers_whose_pieces_do_not_spell_the_text_are_refused(tmp_path: Path):
    words = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0, "play": 1, "##ing": 2}, unk_token="[UNK]"))  # noqa: S106
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="expected BPE or unigram, whose pieces spell the text; got WordPiece"):
        adopted(tmp_path / "tokenizer.json", tmp_path / "spm")


def test_a_tokenizer_of_ours_keeps_all_its_files(made: MiniTokens, tmp_path: Path):
    tokenizer = adopted(made.spm, tmp_path / "spm")
    assert isinstance(tokenizer, Tokenizer)
    assert {path.name for path in made.spm.iterdir()} | {"adopted.json"} == {
        path.name for path in (tmp_path / "spm").iterdir()
    }
    with pytest.raises(UserError, match=r"train_tokenizer\.roles: expected none for spm"):
        adopted(made.spm, tmp_path / "other", bos="<eos>")


def test_what_is_no_tokenizer_is_refused_in_a_line(tmp_path: Path):
    model = model_pb2.ModelProto.FromString((DATA / MISTRAL[0]).read_bytes())
    (tmp_path / "cut.model").write_bytes(model.SerializeToString()[:1000])
    (tmp_path / "ranks.tiktoken").write_bytes(b"YQ== 0\n")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("cut.model", "is no SentencePiece model"),
        ("ranks.tiktoken", "a .tiktoken file does not say how text is split"),
        ("empty", "expected one of spiece.model"),
        ("none", "is missing"),
    ):
        with pytest.raises(UserError, match=words):
            adopted(tmp_path / name, tmp_path / "spm")


def test_more_pieces_leave_old_ids_and_old_documents_as_they_were(made: MiniTokens, old_model: Path, tmp_path: Path):
    greek = ["Ξεσκεπάζω την ψυχοφθόρα βδελυγμία και την αλήθεια της ημέρας"] * 20
    new = count_texts(greek, Splitting(split_digits=True, split_by_script=True, split_by_number=True, user_symbols=()))
    manifest = files.read_json(made.corpus / "manifest.json", "")
    record = {"corpus": manifest["hash"]["train"], "keep": ["a"], "max_changed": 0.001}
    more = More(lambda file: extended(file, new, 12), record)
    before = AdoptedTokenizer(old_model)
    folder = tmp_path / "spm"
    tokenizer = adopt(Base(old_model, "old.model", {"pad": "</s>"}), folder, more)
    assert isinstance(tokenizer, AdoptedTokenizer)
    assert tokenizer.vocab_size == before.vocab_size + 12
    assert tokenizer.pad_id == before.eos_id
    assert (folder / "base.model").read_bytes() == old_model.read_bytes()
    assert tokenizer.pieces(range(before.vocab_size)) == before.pieces(range(before.vocab_size))
    unread, read = (one.decode(one.encode(greek[0])) for one in (before, tokenizer))  # it has no pieces for bytes
    assert ("η" in unread, "η" in read) == (False, True)
    limits = PARAMS.validation.model_copy(update={"waive": [*WAIVED, "round_trip_failures", "unknown_share"]})
    gates = validate(folder / "spiece.model", made.corpus / "held_out", limits, tmp_path / "validate")
    [gate] = [gate for gate in gates if gate.measure == "changed_share"]
    assert (gate.holds, gate.value) == (True, "0.0")
    told = files.read_json(tmp_path / "validate/details.json", "")["extension"]
    assert (told["pieces"], told["unused_pieces"], told["old"]["changed"]) == (12, 12, 0)
    layout = Encode(add_bos=True, add_eos=True)
    out, cache = tmp_path / "tokens", Cache(tmp_path / "cache")
    encode_corpus(made.corpus, folder, tmp_path / "validate/passed.json", out, layout, cache)
    measured = told | {"old": told["old"] | {"changed": 9, "changed_share": 0.009, "documents": 1000}}
    assert not gates_module.of_extension(measured, limits).holds
    assert gates_module.of_extension(measured, limits.model_copy(update={"waive": ["changed_share"]})).waived
    none = gates_module.of_extension(told | {"old": told["old"] | {"documents": 0}}, limits)
    assert (none.holds, none.judged) == (True, False)
    adopt(Base(old_model, "old.model", {}), folder, More(more.learn, record | {"corpus": "0" * 32}))
    with pytest.raises(UserError, match="its new pieces are from the corpus 0000"):
        encode_corpus(made.corpus, folder, tmp_path / "validate/passed.json", out, layout, cache)

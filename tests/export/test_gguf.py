"""The GGUF file, read back with the library that llama.cpp's authors write; tests/slow/test_gguf.py runs it."""

import shutil
from pathlib import Path
from typing import Any

import gguf
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentencepiece import SentencePieceTrainer
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.cli.gguf import gguf as command
from aura.core import checksums, files
from aura.core.errors import UserError
from aura.export import gguf_file, gguf_vocabulary
from aura.export.llama import export
from aura.model import weights
from aura.model.model import ModelConfig, initial_model
from aura.tokenizer.chat import CHAT_TEMPLATE
from aura.tokenizer.tokenizer import Tokenizer
from aura.train_tokenizer import artifact
from tests.conftest import stdlib_texts
from tests.mini_tokens import PARAMS, MiniTokens

SHAPE = {"layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "hidden": 48}
TYPES = model_pb2.ModelProto.SentencePiece


@pytest.fixture(scope="module")
def spm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BPE tokenizer of 500 pieces with user symbols."""
    folder = tmp_path_factory.mktemp("gguf") / "spm"
    changes = {"model_type": "bpe", "vocab_size": 500, "user_symbols": ["USER", "##"]}
    options = artifact.with_changes(PARAMS.train_tokenizer, **changes)
    artifact.build_from_texts(stdlib_texts(40), options).write(folder)
    return folder


def exported(spm: Path, folder: Path, *, add_bos: bool = True, **changes: object) -> Path:
    """models/hf with model.gguf, of a model whose weights all differ."""
    tokenizer = Tokenizer.load(spm / "spiece.model")
    config = ModelConfig(**({"vocab_size": tokenizer.vocab_size, "tied_embeddings": True} | SHAPE | changes))
    noise = iter(jax.random.split(jax.random.key(1), 99))
    model = jax.tree.map(
        lambda leaf: leaf * (1 + 0.5 * jax.random.normal(next(noise), leaf.shape)), initial_model(config, 0)
    )
    weights.save(folder / "lm", model, {"seq_len": 64, "tokenizer": tokenizer.sha256})
    export(folder / "lm", spm, folder / "hf", add_bos=add_bos, gguf=True)
    return folder / "hf"


@pytest.fixture(scope="module")
def hf(spm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """models/hf of a model with tied embeddings; tests must not change it."""
    return exported(spm, tmp_path_factory.mktemp("exported"))


def fields(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}


@pytest.mark.parametrize(("tied", "qwen3"), [(True, False), (False, False), (True, True)])
def test_the_tensors_are_those_of_the_folder(spm: Path, tmp_path: Path, tied: bool, qwen3: bool):
    folder = exported(spm, tmp_path, tied_embeddings=tied, qk_norm=qwen3)
    assert fields(folder / "model.gguf")["general.architecture"] == ("qwen3" if qwen3 else "llama")
    got = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(folder / "model.gguf").tensors}
    expected = load_file(folder / "model.safetensors")
    theirs = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        **({} if tied else {"output": "lm_head"}),
        **{
            f"blk.{layer}.{name}": f"model.layers.{layer}.{other}"
            for layer in (0, 1)
            for name, other in {
                "attn_q": "self_attn.q_proj",
                "attn_k": "self_attn.k_proj",
                "attn_v": "self_attn.v_proj",
                "attn_output": "self_attn.o_proj",
                "attn_norm": "input_layernorm",
                "ffn_gate": "mlp.gate_proj",
                "ffn_up": "mlp.up_proj",
                "ffn_down": "mlp.down_proj",
                "ffn_norm": "post_attention_layernorm",
                **({"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"} if qwen3 else {}),
            }.items()
        },
    }
    assert got.keys() == {f"{name}.weight" for name in theirs}
    for name, other in theirs.items():
        whole = expected[f"{other}.weight"]
        if name.endswith(("attn_q", "attn_k")) and not qwen3:  # of each head of 8 rows: 0 4 1 5 2 6 3 7
            rows = [head + row for head in range(0, len(whole), 8) for row in (0, 4, 1, 5, 2, 6, 3, 7)]
            whole = whole[rows]
        np.testing.assert_array_equal(got[f"{name}.weight"], whole, err_msg=name)


def test_the_metadata_say_what_config_json_says(hf: Path):
    got, config = fields(hf / "model.gguf"), files.read_object(hf / "config.json", made_by="")
    assert got["general.architecture"] == "llama"
    expected = {
        "vocab_size": config["vocab_size"],
        "context_length": 64,
        "embedding_length": 32,
        "block_count": 2,
        "feed_forward_length": 48,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 8,
        "attention.value_length": 8,
        "attention.layer_norm_rms_epsilon": np.float32(config["rms_norm_eps"]),
        "rope.dimension_count": 8,
        "rope.freq_base": config["rope_theta"],
    }
    assert {name: got[f"llama.{name}"] for name in expected} == expected


def test_the_vocabulary_is_that_of_the_tokenizer(spm: Path, hf: Path):
    got, tokenizer = fields(hf / "model.gguf"), Tokenizer.load(spm / "spiece.model")
    model = model_pb2.ModelProto.FromString((spm / "spiece.model").read_bytes())
    key = "tokenizer.ggml."
    assert got[f"{key}model"] == "llama"
    assert got[f"{key}tokens"] == [tokenizer.piece(token) for token in range(tokenizer.vocab_size)]
    assert got[f"{key}token_type"] == [entry.type for entry in model.pieces]
    scores = dict(zip(got[f"{key}tokens"], got[f"{key}scores"], strict=True))
    learnt = {entry.piece: entry.score for entry in model.pieces if entry.type == TYPES.NORMAL}
    assert {name: scores[name] for name in learnt} == learnt
    assert max(scores[name] for name in scores.keys() - learnt) < min(learnt.values())
    roles = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "unknown": tokenizer.unk_id, "padding": tokenizer.pad_id}
    assert {name: got[f"{key}{name}_token_id"] for name in roles} == roles
    flags = {"add_bos_token": True, "add_eos_token": False, "add_space_prefix": False}
    assert {name: got[f"{key}{name}"] for name in flags} == flags
    assert got["tokenizer.chat_template"] == CHAT_TEMPLATE


def test_a_model_whose_documents_had_no_bos_gets_none(spm: Path, tmp_path: Path):
    assert fields(exported(spm, tmp_path, add_bos=False) / "model.gguf")["tokenizer.ggml.add_bos_token"] is False


def test_the_file_is_part_of_the_folder_and_the_same_each_time(hf: Path, tmp_path: Path):
    checksums.verify(hf, "")
    assert "model.gguf" in checksums.read(hf, "")
    assert "A literal U+2581 in text becomes a space in llama.cpp." in (hf / "README.md").read_text()
    for _ in range(2):  # the second time over the first
        gguf_file.convert(hf, tmp_path / "again.gguf")
        assert files.sha256_file(tmp_path / "again.gguf") == files.sha256_file(hf / "model.gguf")
    assert [file.name for file in tmp_path.iterdir()] == ["again.gguf"]


def test_large_tensors_are_copied_in_pieces(hf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("aura.model.tensor_file.row_ranges.__defaults__", (1000,))
    gguf_file.convert(hf, tmp_path / "model.gguf")
    assert files.sha256_file(tmp_path / "model.gguf") == files.sha256_file(hf / "model.gguf")


def test_a_unigram_model_is_refused_before_any_work(made: MiniTokens, tmp_path: Path):
    with pytest.raises(
        UserError, match=r"gives <unk> for a character without a piece.* train_tokenizer.model_type: bpe"
    ):
        export(tmp_path / "no model", made.spm, tmp_path / "hf", add_bos=True, gguf=True)
    assert list(tmp_path.iterdir()) == []


def changed(spm: Path, folder: Path, change: Any) -> Path:
    """A folder with a changed SentencePiece model alone."""
    model = model_pb2.ModelProto.FromString((spm / "spiece.model").read_bytes())
    change(model)
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    return folder


def unused(model: Any) -> None:
    model.pieces[-1].type = TYPES.UNUSED


def nameless_bytes(model: Any) -> None:
    for entry in model.pieces:
        entry.type = TYPES.NORMAL if entry.type == TYPES.BYTE else entry.type


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: setattr(model.normalizer_spec, "precompiled_charsmap", b"x"), "changes characters"),
        (lambda model: setattr(model.normalizer_spec, "remove_extra_whitespaces", True), "removes spaces"),
        (lambda model: setattr(model.normalizer_spec, "escape_whitespaces", False), "removes spaces"),
        (lambda model: setattr(model.trainer_spec, "treat_whitespace_as_suffix", True), "end with the space"),
        (lambda model: setattr(model.trainer_spec, "model_type", model_pb2.TrainerSpec.WORD), "neither a unigram"),
        (unused, "marks 1 pieces as unused"),
        (nameless_bytes, "no pieces for bytes"),
    ],
)
def test_rules_that_llama_cpp_lacks_are_refused(spm: Path, tmp_path: Path, change: Any, words: str):
    with pytest.raises(UserError, match=f"llama.cpp cannot read this tokenizer with the same ids: .*{words}"):
        gguf_vocabulary.vocabulary(changed(spm, tmp_path / "changed", change))


def test_files_that_are_no_sentencepiece_model_are_refused(spm: Path, tmp_path: Path):
    shutil.copy(spm / "tokenizer.json", tmp_path)
    with pytest.raises(UserError, match=r"rules of tokenizer\.json or tekken"):
        gguf_vocabulary.vocabulary(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"\x0a\xff\xff\xff\xff\xff")
    with pytest.raises(UserError, match="expected a SentencePiece model, got a damaged or other file"):
        gguf_vocabulary.vocabulary(tmp_path)


def test_a_model_trained_by_sentencepiece_keeps_its_prefix(tmp_path: Path):
    (tmp_path / "text.txt").write_text("\n".join(text.replace("\n", " ") for text in stdlib_texts(10)))
    rules = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True}
    SentencePieceTrainer.Train(
        input=tmp_path / "text.txt", model_prefix=tmp_path / "spiece", model_type="bpe", vocab_size=500,
        minloglevel=2, user_defined_symbols=["<tool>"], **rules,
    )  # fmt: skip
    found = gguf_vocabulary.vocabulary(tmp_path)
    assert (found.space_prefix, found.unk_id) == (True, 0)
    assert "llama.cpp puts a space not only before a text but also before what follows a user symbol in it." in (
        found.differences
    )


def test_texts_that_llama_cpp_reads_otherwise_are_named(spm: Path, tmp_path: Path):
    def change(model: Any) -> None:
        for entry, (text, kind) in zip(
            model.pieces[-5:],
            [("abc", 4), ("bcde", 4), ("<e", 1), ("os>", 1), ("x\u2581y", 4)],
            strict=True,
        ):
            entry.piece, entry.type = text, kind

    found = gguf_vocabulary.vocabulary(changed(spm, tmp_path / "changed", change))
    assert any(
        "llama.cpp takes the longest and not the first, such as of 'abc' and 'bcde'." in sentence
        for sentence in found.differences
    )
    assert any(
        sentence.endswith("may become that token in llama.cpp, such as '<eos>'.") for sentence in found.differences
    )
    assert found.texts[-1] == b"x y"
    assert len(gguf_vocabulary.vocabulary(spm).differences) == 1


def copied(hf: Path, folder: Path) -> Path:
    """The exported folder without its record of hashes."""
    shutil.copytree(hf, folder)
    (folder / checksums.NAME).unlink()
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["MistralForCausalLM"]}, r"architectures: expected \['LlamaForCausalLM'\]"),
        ({"eos_token_id": None}, "eos_token_id: expected the id that ends a text, got none"),
        ({"num_hidden_layers": 2**40}, "expected sizes of 1 to"),
        ({"num_hidden_layers": 2**30}, "expected the tensors of a Llama of 1,073,741,824 layers"),
        ({"num_hidden_layers": 1}, "missing or not expected: model.layers.1.input_layernorm.weight"),
        ({"num_key_value_heads": 4}, r"k_proj.weight: expected the shape \(32, 32\), got \(16, 32\)"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_type: expected default or llama3"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": None}, "rope_type: .* got 'linear'"),
        ({"rope_scaling": [2.0], "rope_parameters": None}, "rope_scaling: expected keys with values"),
        ({"rope_theta": "1e4", "rope_parameters": None}, "rope_theta"),
        ({"hidden_act": "gelu"}, "hidden_act: expected 'silu'"),
        ({"attention_bias": True}, "attention_bias: expected False"),
        ({"head_dim": "8"}, "head_dim"),
        ({"bos_token_id": -1}, "expected ids from 0 to 499, got bos_token_id: -1"),
        ({"vocab_size": 499}, "expected a tokenizer of 499 pieces, as config.json states, got 500"),
        ({"hidden_size": "32"}, "hidden_size"),
    ],
)
def test_another_model_than_config_json_states_is_refused(hf: Path, tmp_path: Path, change: dict, words: str):
    folder = copied(hf, tmp_path / "hf")
    files.write_json(folder / "config.json", files.read_object(folder / "config.json", made_by="") | change)
    with pytest.raises(UserError, match=words):
        gguf_file.convert(folder, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_biases_and_folders_without_a_model_are_refused(hf: Path, tmp_path: Path):
    folder = copied(hf, tmp_path / "hf")
    file = folder / "model.safetensors"
    save_file(load_file(file) | {"model.layers.0.self_attn.q_proj.bias": np.zeros(32, np.float32)}, file)
    with pytest.raises(UserError, match=r"without biases.* not expected: model.layers.0.self_attn.q_proj.bias"):
        gguf_file.convert(folder, tmp_path / "model.gguf")
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match="expected a safetensors file"):
        gguf_file.convert(folder, tmp_path / "model.gguf")
    file.unlink()
    with pytest.raises(UserError, match=r"model.safetensors is missing"):
        gguf_file.convert(folder, tmp_path / "model.gguf")
    with pytest.raises(UserError, match="expected the folder of a model"):
        gguf_file.convert(tmp_path / "absent", tmp_path / "model.gguf")
    with pytest.raises(UserError, match="is a folder: expected the name of a file"):
        gguf_file.convert(folder, tmp_path)


def test_llama_3_stretches_its_long_waves(hf: Path, tmp_path: Path):
    folder = copied(hf, tmp_path / "hf")
    rope = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 256}
    config = files.read_object(folder / "config.json", made_by="")
    change = {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1000.0, **rope}, "rope_theta": 1000.0}
    files.write_json(folder / "config.json", config | change)
    gguf_file.convert(folder, tmp_path / "model.gguf")
    [factors] = [
        tensor.data for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors if tensor.name == "rope_freqs.weight"
    ]
    # Waves of 6.3, 35, 199 and 1117 tokens: shorter than 256 / 4, longer than 256, or between.
    between = 256 / (2 * np.pi * 1000**0.5)
    share = (between - 1) / 3
    np.testing.assert_allclose(factors, [1, 1, 1 / (share + (1 - share) / 8), 8], rtol=1e-6)
    assert fields(tmp_path / "model.gguf")["llama.rope.freq_base"] == 1000


def test_the_command_writes_the_file_and_says_what_differs(
    hf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    command(tmp_path / "model.gguf", hf)
    said = capsys.readouterr().out
    assert said.startswith("note: A literal U+2581 in text becomes a space in llama.cpp.\nwritten: ")
    assert files.sha256_file(tmp_path / "model.gguf") == files.sha256_file(hf / "model.gguf")

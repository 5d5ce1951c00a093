"""llama.cpp's ids of texts, through a GGUF file made from an exported folder as llama.cpp's own converter makes it.

    .venv-readers/bin/python benchmarks/peers/llama_cpp.py FOLDER TEXTS.json IDS.json

Its server tokenizes only for a whole model, so the vocabulary gets a Llama of one layer of zeros.
"""

import json
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
from llama_server import Server

WIDTH, CONTEXT = 32, 512
MATRICES = {
    **{f"blk.0.attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")},
    **{f"blk.0.{name}.weight": (WIDTH,) for name in ("attn_norm", "ffn_norm")},
    **{f"blk.0.ffn_{part}.weight": (WIDTH, WIDTH) for part in ("gate", "up", "down")},
    "output_norm.weight": (WIDTH,),
}


def vocabulary(folder: Path) -> tuple[list[bytes], list[float], list[gguf.TokenType]]:
    """Texts, scores and types, from tokenizer.model and the added tokens of tokenizer_config.json."""
    rows = list(gguf.vocab.SentencePieceVocab(folder).all_tokens())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    for place, token in config["added_tokens_decoder"].items():
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        rows[int(place)] = (token["content"].encode(), -1000.0, kind)
    texts, scores, kinds = map(list, zip(*rows, strict=True))
    return texts, scores, kinds


def convert(folder: Path, path: Path) -> None:
    """Write the GGUF file."""
    texts, scores, kinds = vocabulary(folder)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(texts)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    if "add_prefix_space" in config:
        writer.add_add_space_prefix(config["add_prefix_space"])
    gguf.SpecialVocab(folder, n_vocab=len(texts)).add_to_gguf(writer, quiet=True)
    embedding = (len(texts), WIDTH)
    for name, shape in {**MATRICES, "token_embd.weight": embedding, "output.weight": embedding}.items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Convert, ask, and write the ids."""
    folder, texts, output = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "model.gguf")
        convert(folder, path)
        output.write_text(json.dumps([*map(Server(path).ids, json.loads(texts.read_text()))]))


if __name__ == "__main__":
    main()

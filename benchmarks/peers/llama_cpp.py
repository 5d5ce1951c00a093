"""llama.cpp's ids of texts, through a GGUF file made from an exported folder as llama.cpp's own converter makes it.

    .venv-readers/bin/python benchmarks/peers/llama_cpp.py FOLDER TEXTS.json IDS.json

Its server tokenizes only for a whole model, so the vocabulary gets a Llama of one layer of zeros.
"""

import http.client
import json
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import gguf
import numpy as np
import xllamacpp

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


def tokenize(path: Path, texts: list[str]) -> list[list[int]]:
    """The ids that the server gives, without special tokens in or around a text."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup = CONTEXT, 1, False
    server = xllamacpp.Server(params)
    address = urlsplit(server.listening_address)
    ids = []
    for text in texts:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        asked = json.dumps({"content": text, "add_special": False, "parse_special": False})
        connection.request("POST", "/tokenize", asked, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        ids.append(json.loads(answer.read())["tokens"])
        connection.close()
    return ids


def main() -> None:
    """Convert, ask, and write the ids."""
    folder, texts, output = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "model.gguf")
        convert(folder, path)
        output.write_text(json.dumps(tokenize(path, json.loads(texts.read_text()))))


if __name__ == "__main__":
    main()

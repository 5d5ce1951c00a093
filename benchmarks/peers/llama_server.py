"""llama.cpp's server of a GGUF file: ids of texts, and the likeliest continuation of ids.

    .venv-readers/bin/python benchmarks/peers/llama_server.py MODEL.gguf ASKED.json ANSWERS.json

ASKED.json has `texts`, `prompts` (lists of ids), `tokens` (of each continuation) and `exact`: whether attention
computes in float32, as `llama-server -fa off -ctk f32 -ctv f32` does; by default llama.cpp has float16 there.

The answers are `ids` of the texts, without special tokens in or around them; `begun`, ids of the first text as the
server begins a prompt; `continuations` of the prompts; and `chat`, ids of a message with the chat template.
"""

import http.client
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import xllamacpp

CONTEXT = 512


class Server:
    """A server in this process, for one request at a time."""

    def __init__(self, path: Path, *, exact: bool = False) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.warmup, params.n_gpu_layers = CONTEXT, 1, False, 0
        if exact:
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._server = xllamacpp.Server(params)
        self._address = urlsplit(self._server.listening_address)

    def post(self, path: str, **body: object) -> dict[str, Any]:
        """The JSON of an answer."""
        connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=60)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        assert answer.status == 200, content
        found: dict[str, Any] = json.loads(content)
        return found

    def ids(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of a text; `special` lets special tokens come out of it, and begins it as a prompt."""
        found: list[int] = self.post("/tokenize", content=text, add_special=special, parse_special=special)["tokens"]
        return found

    def continuation(self, prompt: Sequence[int], tokens: int) -> list[int]:
        """The likeliest tokens one after the other; the end of a text is not among them."""
        found: list[int] = self.post(
            "/completion", prompt=list(prompt), n_predict=tokens, temperature=0, return_tokens=True, cache_prompt=False
        )["tokens"]
        return found

    def chat(self, content: str) -> list[int]:
        """The ids of one message of a user, by the chat template."""
        prompt = self.post("/apply-template", messages=[{"role": "user", "content": content}])["prompt"]
        return self.ids(str(prompt), special=True)


def main() -> None:
    """Ask, and write the answers."""
    path, given, output = map(Path, sys.argv[1:])
    asked = json.loads(given.read_text())
    server = Server(path, exact=asked["exact"])
    texts = asked["texts"]
    answers = {
        "ids": [server.ids(text) for text in texts],
        "begun": server.ids(texts[0], special=True),
        "continuations": [server.continuation(prompt, asked["tokens"]) for prompt in asked["prompts"]],
        "chat": server.chat("Hello"),
    }
    output.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()

"""Draws tokens with whatever `aura` is on the path, and prints tokens a second as JSON; see benchmarks/sampling.py."""

import json
import resource
import sys
import time
from collections.abc import Callable

import jax
import numpy as np

from aura.model.model import ModelConfig, initial_model
from aura.training.answers import Answerer, Drawing
from aura.training.generation import continuations

SHAPES = {
    "tiny": {"layers": 4, "width": 128, "heads": 4, "kv_heads": 2, "hidden": 384},
    "10M": {"layers": 6, "width": 320, "heads": 5, "kv_heads": 5, "hidden": 864},
}


def timed(draw: Callable[[], object]) -> tuple[float, float]:
    """Seconds by wall, and of the processors."""
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    draw()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime


def main() -> None:
    """Time each case twice: with its compilation, and without."""
    tokens, found = int(sys.argv[1]), {}
    for case in sys.argv[2:]:
        name, kind = case.split(maxsplit=1)
        model = initial_model(ModelConfig(vocab_size=8000, tied_embeddings=True, **SHAPES[name]), 0)
        if kind.startswith("chat"):
            answerer = Answerer(model, 1024, Drawing(0.8, 0.9 if "top-p" in kind else 1.0))
            prompt, texts = np.ones(8, np.int32), 1

            def draw(answerer: Answerer = answerer, prompt: np.ndarray = prompt) -> object:
                return list(answerer.answer(prompt, tokens))
        else:
            texts = int(kind)
            prompts = np.ones((texts, 8), np.int32)

            def draw(model: object = model, prompts: np.ndarray = prompts) -> object:
                return np.asarray(continuations(model, prompts, jax.random.key(0), 0.8, tokens=tokens))

        first, (wall, cpu) = timed(draw)[0], timed(draw)
        found[case] = {"first": first, "wall": texts * tokens / wall, "cpu": texts * tokens / cpu}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

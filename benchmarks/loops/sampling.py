"""Draws tokens with the `aura` on the path, and prints tokens a second as JSON; see benchmarks/sampling.py."""

import json
import resource
import statistics
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
    """Time each case with its compilation, and three times without."""
    tokens, found = int(sys.argv[1]), {}
    for case in sys.argv[2:]:
        name, kind = case.split(maxsplit=1)
        model = initial_model(ModelConfig(vocab_size=8000, tied_embeddings=True, **SHAPES[name]), 0)
        of, drawing = kind.replace(",", " ").split()[0], Drawing(0.8, 0.9 if "top-p" in kind else 1.0)
        texts = int(of) if of.isdecimal() else 1
        prompts = np.ones((texts, 8), np.int32)
        answerer = Answerer(model, 1024, drawing)

        def chat(answerer: Answerer = answerer, prompt: np.ndarray = prompts[0]) -> object:
            return list(answerer.answer(prompt, tokens))

        def sample(model: object = model, prompts: np.ndarray = prompts, drawing: Drawing = drawing) -> object:
            return list(Answerer(model, 1024, drawing).answers(prompts, tokens, np.zeros(len(prompts), bool)))

        def program(model: object = model, prompts: np.ndarray = prompts) -> object:
            return np.asarray(continuations(model, prompts, jax.random.key(0), 0.8, tokens=tokens))

        earlier = not hasattr(Answerer, "answers")  # `aura sample` was one program
        draw = chat if of == "chat" else program if earlier or "program" in kind else sample
        first, repeats = timed(draw)[0], [timed(draw) for _ in range(3)]
        wall, cpu = (statistics.median(column) for column in zip(*repeats, strict=True))
        found[case] = {"first": first, "wall": texts * tokens / wall, "cpu": texts * tokens / cpu}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

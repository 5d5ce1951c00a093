"""A model of aura's as lm-eval asks one: likelihoods, likelihoods of whole texts, and greedy answers.

lm-eval (https://github.com/EleutherAI/lm-evaluation-harness) holds the tasks that papers report. The model is scored in
place, by JAX: neither torch nor transformers is needed. lm-eval is an extra (`pip install 'aura[lm-eval]'`), because
it brings 25 packages; without it, importing this module is a `UserError`.

A task's YAML may name Python code (`!function`), which then runs: only tasks that one trusts may be named.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aura.core.errors import UserError
from aura.evaluation.requests import pair_requests, require_begin, windows
from aura.evaluation.scoring import Scorer, lengths
from aura.hugging_face.loading import Loaded
from aura.training.generation import continuations
from aura.training.sampling import until_end

NETWORK = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
ANSWER = 256  # tokens of an answer, where the task names no number, as in lm-eval's own models


def _imported() -> tuple[Any, Any]:
    try:
        import lm_eval
        from lm_eval.api.model import LM
    except ImportError as error:
        raise UserError(
            f"expected lm-eval, and it is not installed ({error}). Run: pip install 'aura[lm-eval]'; or, in the "
            "project's folder: .venv/bin/pip install -e '.[lm-eval]'"
        ) from None
    return lm_eval, LM


lm_eval, LM = _imported()


class ScoredInPlace(LM):  # type: ignore[misc, valid-type]
    """A loaded model for lm-eval.

    Arguments:
        loaded: the model and its tokenizer.
        context: tokens that it reads at once.
        rows: sequences of that length in a batch.
    """

    def __init__(self, loaded: Loaded, context: int, rows: int) -> None:
        super().__init__()
        self._model, self._reader, self._rows = loaded.model, replace(loaded.reader, context=context), rows
        self._scorer = Scorer(context, rows)

    @property
    def tokenizer_name(self) -> str:
        """The identity of the tokenizer, for lm-eval's records."""
        return self._reader.tokenizer.encoding_sha256

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """(ln p, whether greedy decoding gives it) of the continuation of each (context, continuation)."""
        pairs = [request.args for request in requests]
        places = [f"{request.task_name}, document {request.doc_id}" for request in requests]
        asked = [*pair_requests(self._reader, pairs, places)]
        scores = self._scorer.scores(self._model, asked, greedy=True)
        assert scores is not None  # noqa: S101 - nothing interrupts it
        return [(-nats, greedy) for nats, greedy in zip(scores.nats.tolist(), scores.likeliest.tolist(), strict=True)]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Ln p of each text."""
        places = [f"{request.task_name}, document {request.doc_id}" for request in requests]
        of_texts = windows(self._reader, [request.args[0] for request in requests], places)
        scores = self._scorer.scores(self._model, [window for one in of_texts for window in one])
        assert scores is not None  # noqa: S101 - nothing interrupts it
        ends = np.cumsum([0, *map(len, of_texts)])
        return [-float(scores.nats[first:end].sum()) for first, end in pairwise(ends.tolist())]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The answer to each (context, options), up to the first of the texts in `until`, which is left out."""
        require_begin(self._reader)
        answers: dict[int, str] = {}
        alike: dict[tuple[int, int, float], list[tuple[int, Any]]] = {}
        for number, request in enumerate(requests):
            before, options = request.args
            tokens = min(options.get("max_gen_toks") or ANSWER, max(1, self._reader.context // 2))
            ids = self._reader.ids(before)
            ids = ids[-(self._reader.context - tokens) :]
            length = next(length for length in reversed(lengths(self._reader.context)) if len(ids) <= length)
            temperature = float(options.get("temperature") or 0) if options.get("do_sample") else 0.0
            alike.setdefault((length, tokens, temperature), []).append((number, ids))
        for (length, tokens, temperature), asked in alike.items():
            for start in range(0, len(asked), self._rows):
                part = asked[start : start + self._rows]
                said = self._said([ids for _, ids in part], length, tokens, temperature)
                answers |= {number: text for (number, _), text in zip(part, said, strict=True)}
        return [_before_stop(answers[number], request.args[1]) for number, request in enumerate(requests)]

    def _said(self, prompts: Sequence[Any], length: int, tokens: int, temperature: float) -> list[str]:
        """Texts after prompts, which are filled up at the left."""
        prompts_BxP, begins_B = np.zeros((self._rows, length), np.int32), np.full(self._rows, length - 1, np.int32)
        for row, ids in enumerate(prompts):
            prompts_BxP[row, length - len(ids) :], begins_B[row] = ids, length - len(ids)
        made = continuations(
            self._model,
            prompts_BxP,
            jax.random.key(0),
            temperature,
            begins_B,
            self._reader.tokenizer.eos_id,
            tokens=tokens,
        )
        return [
            self._reader.tokenizer.decode(until_end(ids, self._reader.tokenizer))
            for ids in np.asarray(made)[: len(prompts)]
        ]


def run(
    loaded: Loaded,
    context: int,
    rows: int,
    tasks: Sequence[str],
    *,
    folder: Path | None = None,
    limit: int | None = None,
    network: bool = False,
) -> dict[str, dict[str, float]]:
    """The figures of each task, as lm-eval names them, such as `acc,none` and `acc_stderr,none`.

    Arguments:
        loaded: the model.
        context: tokens that it reads at once.
        rows: sequences of that length in a batch.
        tasks: their names.
        folder: of YAML files with more tasks.
        limit: documents of each task; None for all.
        network: whether data sets may be downloaded.

    Raises:
        UserError: lm-eval knows no such task, or cannot read its data.
    """
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    _require_offline(allowed=network)
    manager = TaskManager(include_path=str(folder) if folder else None)
    if unknown := [task for task in tasks if task not in manager.all_tasks]:
        raise UserError(
            f"--lm-eval: expected tasks that lm-eval knows, got {', '.join(unknown)}. List them with: "
            "lm-eval ls tasks; tasks of your own need --include-path FOLDER"
        )
    model = ScoredInPlace(loaded, context, rows)
    try:
        found = lm_eval.simple_evaluate(
            model=model, tasks=[*tasks], task_manager=manager, limit=limit, log_samples=False, bootstrap_iters=1000
        )
    except (OSError, ValueError) as error:  # of its own tasks and of datasets
        said = " ".join(str(error).split())
        advice = "" if network else ". A data set from the Hub needs --network once"
        raise UserError(f"--lm-eval: {', '.join(tasks)}: {said}{advice}") from None
    return {
        task: {name: float(value) for name, value in figures.items() if "," in name and isinstance(value, int | float)}
        for task, figures in found["results"].items()
    }


def _require_offline(*, allowed: bool) -> None:
    """Keep the libraries that lm-eval loads data with from the network, unless it is allowed."""
    if allowed:
        return
    os.environ.update(dict.fromkeys(NETWORK, "1"))
    import datasets
    import huggingface_hub

    datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True  # read before this


def _before_stop(text: str, options: dict[str, Any]) -> str:
    stops = options.get("until") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop, 1)[0] if stop else text
    return text

"""Scores and measures against what the model's logits say, item by item."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from aura.core.errors import UserError
from aura.evaluation.measures import Measure
from aura.evaluation.requests import Request, pair_requests, windows
from aura.evaluation.scoring import Scorer, lengths
from aura.evaluation.sets import open_set
from aura.model.model import LanguageModel, ModelConfig, initial_model
from aura.tokenizer.reader import Reader
from tests.conftest import stdlib_texts
from tests.mini_tokens import MiniTokens

CONTEXT = 32
CONFIG = ModelConfig(vocab_size=500, layers=1, width=16, heads=2, kv_heads=1, hidden=16, tied_embeddings=False)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return initial_model(CONFIG, 0)


_logits = jax.jit(LanguageModel.__call__)


def logits_of(model: LanguageModel, ids: np.ndarray) -> np.ndarray:
    """After each id; filled up to one length, so that one program is compiled."""
    return np.asarray(_logits(model, np.pad(ids, (0, 128 - len(ids)))[None]))[0, : len(ids)]


def expected(model: LanguageModel, request: Request) -> tuple[float, bool]:
    logits = logits_of(model, request.ids[:-1])[-request.scored :].astype(np.float64)
    targets = request.ids[-request.scored :]
    chosen = np.take_along_axis(logits, targets[:, None], axis=-1)[:, 0] - np.log(np.exp(logits).sum(-1))
    return -float(chosen.sum()), bool((logits.argmax(-1) == targets).all())


def reading(made: MiniTokens) -> Reader:
    return Reader.of(made.tokenizer, CONTEXT, add_bos=True)


def test_scores_are_the_models_own_in_every_length(model: LanguageModel):
    random = np.random.default_rng(0)
    requests = []
    for length in (2, 5, 33, 64, 65, 66, 100, 129):
        ids = random.integers(4, 500, length).astype(np.int32)
        ids[-1] = logits_of(model, ids[:-1])[-1].argmax() if length % 2 else ids[-1]
        requests.append(Request(ids, 1 if length % 2 else length - 1))
    found = Scorer(128, 2).scores(model, requests, greedy=True)
    nats, likeliest = zip(*(expected(model, request) for request in requests), strict=True)
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert found.likeliest.tolist() == [*likeliest]
    assert 0 < sum(likeliest) < len(requests)
    assert Scorer(128, 2).scores(model, requests, lambda: True) is None


def test_shorter_programs_are_those_that_the_kernel_can_compute():
    assert lengths(1024) == [1024, 512, 256, 128]
    assert lengths(1536) == [1536, 768, 384]
    assert lengths(200) == [200, 100]
    assert lengths(28) == [28]


def test_a_continuation_is_what_follows_the_common_beginning(made: MiniTokens):
    tokenizer = made.tokenizer
    reader = Reader.of(tokenizer, 512, add_bos=True)
    pairs = [("The function returns ", "a value"), ("The function returns", " a value"), ("", "a value"), ("a", "b")]
    requests = [*pair_requests(reader, pairs, ["here"] * 4)]
    assert np.array_equal(requests[0].ids, requests[1].ids)
    assert requests[0].scored == requests[1].scored
    for (before, after), request in zip(pairs, requests, strict=True):
        assert request.ids[0] == tokenizer.bos_id
        assert tokenizer.decode(request.ids) == before + after
        assert tokenizer.decode(request.ids[-request.scored :]).endswith(after.strip())


def test_a_long_context_loses_its_beginning_and_is_counted(made: MiniTokens):
    text = stdlib_texts(1)[0]
    [request] = pair_requests(reading(made), [(text, " end")], ["here"])
    assert (len(request.ids), request.cut) == (CONTEXT + 1, True)
    with pytest.raises(UserError, match=r"there: expected an answer of 1 to 32 tokens, .*got"):
        [*pair_requests(reading(made), [("a", text)], ["there"])]


def test_windows_score_every_token_of_a_text_once(made: MiniTokens):
    texts = stdlib_texts(3)
    for text, of_text in zip(texts, windows(reading(made), texts, texts), strict=True):
        scored = np.concatenate([window.ids[-window.scored :] for window in of_text])
        assert scored.tolist() == made.tokenizer.encode(text)
        assert all(len(window.ids) <= CONTEXT + 1 for window in of_text)


def test_bits_per_byte_of_a_text_are_over_its_own_bytes(made: MiniTokens, model: LanguageModel, tmp_path: Path):
    texts = stdlib_texts(5)
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    one = open_set("texts", tmp_path, reading(made), 10**6, "--set texts")
    measured = one.measure(model, Scorer(CONTEXT, 4), lambda: False, whole=True)
    nats = [sum(expected(model, each)[0] for each in of) for of in windows(reading(made), texts, texts)]
    sizes = [len(text.encode()) for text in texts]
    whole = measured.whole["bits_per_byte"]
    assert whole.value == pytest.approx(sum(nats) / np.log(2) / sum(sizes), rel=1e-5)
    assert whole.under == pytest.approx(sizes)
    assert measured.part["bits_per_byte"].value == pytest.approx(whole.value)


def test_choices_and_cloze_are_judged_by_likelihood(made: MiniTokens, model: LanguageModel, tmp_path: Path):
    words = ["function", "class", "module", "object of a kind"]
    items = [
        {"question": text[:60], "choices": words, "answer": number % 4} for number, text in enumerate(stdlib_texts(12))
    ]
    (tmp_path / "choices.jsonl").write_text("\n".join(map(json.dumps, items)))
    one = open_set("choices", tmp_path / "choices.jsonl", reading(made), 10**6, "--set choices")
    measured = one.measure(model, Scorer(CONTEXT, 4), lambda: False, whole=True).whole
    right, by_length, bits = [], [], []
    for item in items:
        pairs = [(item["question"], f" {word}") for word in words]
        requests = pair_requests(reading(made), pairs, ["here"] * 4)
        nats = np.array([expected(model, request)[0] for request in requests])
        right.append(nats.argmin() == item["answer"])
        by_length.append((nats / [*map(len, words)]).argmin() == item["answer"])
        bits.append(nats[item["answer"]] / np.log(2) / len(pairs[item["answer"]][1]))
    told = one.told(measured)
    assert (told["accuracy"], told["accuracy_by_length"]) == (np.mean(right), np.mean(by_length))
    assert told["bits_per_byte"] == pytest.approx(np.mean(bits), rel=1e-5)
    assert told["bits_per_byte_stderr"] == pytest.approx(np.std(bits, ddof=1) / 12**0.5, rel=1e-5)
    assert (told["kind"], told["items"]) == ("multiple_choice", 12)

    cloze = [{"text": item["question"], "answer": words[item["answer"]]} for item in items]
    (tmp_path / "cloze.jsonl").write_text("\n".join(map(json.dumps, cloze)))
    other = open_set("cloze", tmp_path / "cloze.jsonl", reading(made), 10**6, "--set cloze")
    of_cloze = other.measure(model, Scorer(CONTEXT, 4), lambda: False, whole=True).whole
    assert of_cloze["bits_per_byte"].value == pytest.approx(told["bits_per_byte"], rel=1e-5)
    assert of_cloze["accuracy"].value == 0


def test_training_measures_a_part_spread_over_the_items(made: MiniTokens, model: LanguageModel, tmp_path: Path):
    items = [{"text": f"number {number}", "answer": "one"} for number in range(50)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, items)))
    one = open_set("a", tmp_path / "a.jsonl", reading(made), 40, "--set a")
    measured = one.measure(model, Scorer(CONTEXT, 4), lambda: False, whole=True)
    alone = one.measure(model, Scorer(CONTEXT, 4), lambda: False, whole=False)
    part = measured.part["bits_per_byte"]
    assert 1 <= len(part.over) < 20
    assert alone.whole is None
    assert alone.part["bits_per_byte"].over == pytest.approx(part.over, rel=1e-5)


def test_the_standard_error_is_that_of_the_mean_and_covers_repeated_samples():
    random = np.random.default_rng(0)
    values = random.random(40)
    assert Measure.mean(values).error == pytest.approx(values.std(ddof=1) / 40**0.5)
    assert Measure.mean(values[:1]).error is None
    sizes = random.integers(10, 1000, (400, 30))
    bits = sizes * (2 + random.normal(0, 0.3, sizes.shape))
    found = [Measure(one, size.astype(float)) for one, size in zip(bits, sizes, strict=True)]
    assert np.mean([one.error for one in found]) == pytest.approx(np.std([one.value for one in found]), rel=0.1)

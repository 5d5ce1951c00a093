from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aura.adapt.objective import counted, followed, losses_and_slopes, mean_weights
from aura.adapt.packing import pack
from aura.adapt.weighted_losses import Terms
from aura.model.lora import Adapter, LoraConfig, adapted
from aura.model.model import LanguageModel, ModelConfig, initial_model, leaf_name
from aura.tokens.conversation_shards import Conversations
from tests.adapt import reference

CONFIG = ModelConfig(vocab_size=24, layers=2, width=8, heads=4, kv_heads=2, hidden=12, tied_embeddings=True)
LENGTHS = [(5, 4), (3, 6), (2, 3), (4, 2), (6, 3), (3, 3)]  # of prompts and answers
TEXTS = [
    (
        np.random.default_rng(number).integers(4, 24, prompt + answer).astype(np.int32),
        np.arange(prompt + answer) >= prompt,
    )
    for number, (prompt, answer) in enumerate(LENGTHS)
]


def conversations(texts: list[tuple[np.ndarray, np.ndarray]] = TEXTS) -> Conversations:
    offsets = np.cumsum([0, *(len(ids) for ids, _ in texts)]).astype(np.int64)
    ids, learnt = (np.concatenate(parts) for parts in zip(*texts, strict=True))
    return Conversations(ids, learnt, offsets, np.zeros((len(texts), 8), np.float32))


def windows(parts: int = 1, texts: list[tuple[np.ndarray, np.ndarray]] = TEXTS) -> dict[str, jax.Array]:
    packed = pack(conversations(texts), 17, 0)
    batch = packed.windows(np.arange(len(packed)))
    return {name: jnp.asarray(array.reshape(parts, -1, array.shape[1])) for name, array in batch.items()}


def whole(_: None, trained: LanguageModel) -> LanguageModel:
    return trained


def moved(model: LanguageModel, seed: int, size: float = 0.1) -> LanguageModel:
    """The same model with every weight changed a little."""
    leaves, structure = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noise = [size * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, [leaf + each for leaf, each in zip(leaves, noise, strict=True)])


student = partial(moved, initial_model(CONFIG, 0), 1)
teacher = partial(moved, initial_model(CONFIG, 0), 2)
compute = jax.jit(partial(losses_and_slopes, whole, None), static_argnames="terms")


def in_float64(model: LanguageModel) -> reference.Weights:
    return {leaf_name(path): np.float64(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(model)}


def test_windows_hold_more_than_one_conversation():
    assert windows()["segments"].max() >= 2


@pytest.mark.parametrize("factor", [0.0, 0.7])
def test_loss_and_gradient_are_those_of_the_reference_for_each_conversation_alone(factor: float):
    taught_by = teacher() if factor else None
    losses, slopes = compute(student(), taught_by, windows(), terms=Terms(1.0, factor))
    weights, teachers = in_float64(student()), in_float64(taught_by) if taught_by else None
    objective = partial(reference.objective, weights, teachers, TEXTS, factor)
    np.testing.assert_allclose(losses.objective, objective(), rtol=1e-6)
    found = in_float64(slopes)
    for name in ("blocks.query", "blocks.down", "final_norm"):
        np.testing.assert_allclose(found[name], reference.slope(objective, weights[name]), rtol=1e-4, atol=1e-6)


def test_with_an_adapter_the_gradient_is_that_of_the_reference_with_the_products_added():
    config = LoraConfig(rank=2, alpha=6.0, matrices=("query", "output", "down"), tokens=(5, 7))
    base, [adapter, taught_by] = student(), [moved(Adapter(student(), config, 0), seed, 0.3) for seed in (3, 4)]
    _, slopes = jax.jit(partial(losses_and_slopes, adapted), static_argnames="terms")(
        base, adapter, taught_by, windows(), terms=Terms(1.0, 0.7)
    )
    learnt, teachers = in_float64(adapter), in_float64(taught_by)

    def merged(adapter: reference.Weights) -> reference.Weights:
        weights = in_float64(base)
        weights["embedding"][[5, 7]] = adapter["embedding"]
        for name in config.adapted_matrices:
            factors = zip(adapter[f"{name}.a"], adapter[f"{name}.b"], strict=True)
            product = np.stack([np.tensordot(a, b, 1) for a, b in factors])
            weights[f"blocks.{name}"] += config.alpha / config.rank * product
        return weights

    def objective() -> float:
        return reference.objective(merged(learnt), merged(teachers), TEXTS, 0.7)

    found = in_float64(slopes)
    for name in ("query.a", "query.b", "output.a", "down.b", "embedding"):
        np.testing.assert_allclose(found[name], reference.slope(objective, learnt[name]), rtol=1e-4, atol=1e-6)


def test_parts_of_a_batch_give_the_loss_and_the_gradient_of_the_whole():
    """Parts hold unequal numbers of learnt tokens."""
    parts = windows(len(windows()["tokens"][0]))
    assert len({int(counted(jax.tree.map(lambda array, at=at: array[at], parts)).sum()) for at in range(2)}) == 2
    one, other = (compute(student(), teacher(), batch, terms=Terms(1.0, 0.5)) for batch in (windows(), parts))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, other)


def test_each_counted_target_of_a_batch_has_the_same_weight():
    weights = np.asarray(mean_weights(windows(1)))
    learnt = sum(int(marks.sum()) for _, marks in TEXTS)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(np.unique(weights), [0, 1 / learnt], rtol=1e-6)


def test_the_first_token_of_a_segment_is_no_target():
    batch = {
        "tokens": np.zeros((1, 6), np.int32),
        "learnt": np.ones((1, 6), bool),
        "segments": np.array([[1, 1, 2, 2, 2, 0]]),
    }
    np.testing.assert_array_equal(counted(batch), [[True, False, True, True, False]])


def test_a_conversations_loss_and_gradient_ignore_its_neighbours_exactly():
    """Only the first conversation of each window counts, and no two conversations share an id."""
    apart = [(number * 8 + ids % 8, learnt) for number, (ids, learnt) in enumerate(TEXTS)]
    batch = windows(1, apart)
    first = batch["segments"] == 1
    alone = batch | {"learnt": batch["learnt"] & first}
    others = alone | {"tokens": jnp.where(first, batch["tokens"], (batch["tokens"] + 3) % 48)}
    assert not np.array_equal(batch["tokens"], others["tokens"])
    untied = replace(CONFIG, vocab_size=48, tied_embeddings=False)
    model, taught_by = moved(initial_model(untied, 0), 1), moved(initial_model(untied, 0), 2)
    (one, slopes), (other, _) = (compute(model, taught_by, each, terms=Terms(1.0, 0.5)) for each in (alone, others))
    assert one == other
    read = np.unique(batch["tokens"][:, :, :-1][first[:, :, :-1]])
    has_slope = np.abs(slopes.embedding[...]).sum(axis=1) > 0
    assert has_slope[read].mean() > 0.7
    assert not np.delete(has_slope, read).any()


def test_a_teacher_equal_to_the_student_changes_neither_loss_nor_gradient():
    without, with_ = (
        compute(student(), taught_by, windows(), terms=Terms(1.0, 3.0)) for taught_by in (None, student())
    )
    assert float(with_[0].divergence) == 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8), without[1], with_[1])


def test_the_teacher_is_the_moving_average():
    teacher, decay = {"a": jnp.array([1.0, 2.0])}, 0.75
    expected = np.array([1.0, 2.0])
    for number in range(5):
        trained = {"a": jnp.array([float(number), 1.0])}
        teacher = followed(teacher, trained, decay)
        expected = decay * expected + (1 - decay) * np.array([number, 1.0])
    np.testing.assert_allclose(teacher["a"], expected, rtol=1e-6)
    assert followed(trained, trained, 0.9)["a"].tolist() == trained["a"].tolist()

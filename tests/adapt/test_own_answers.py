from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aura.adapt.exchanges import ExchangeBatches, Exchanges, Hint, Room
from aura.adapt.own_answers import drawn_answers, own_losses_and_slopes, reading, until_end
from aura.adapt.packing import pack
from aura.model.model import Compute, LanguageModel, ModelConfig
from tests.adapt.test_objective import TEXTS, conversations, student, teacher, whole
from tests.strict_dtypes import strict_dtypes  # noqa: F401 - for every test of this module

EOS = 2
HINT = Hint(np.array([20, 21], np.int32), np.array([22], np.int32))
EXCHANGES = Exchanges(conversations(), pack(conversations(), 17, 0), Room.half(11))  # prompts of 6 tokens, answers of 5


def batch(step: int = 0, parts: int = 1) -> dict[str, jax.Array]:
    made = ExchangeBatches(EXCHANGES, HINT, 4, 0).batch(step)
    return {name: jnp.asarray(array.reshape(parts, -1, *array.shape[1:])) for name, array in made.items()}


compute = jax.jit(partial(own_losses_and_slopes, whole, None), static_argnames=("tokens", "eos"))


def test_exchanges_are_the_last_questions_and_answers_that_fit():
    fitting = [(ids, marks) for ids, marks in TEXTS if (~marks).sum() <= 6 and marks.sum() <= 5]
    assert len(EXCHANGES) == len(fitting) < len(TEXTS)
    assert EXCHANGES.left_out == len(TEXTS) - len(fitting)
    numbers = np.arange(len(fitting))
    prompts, lengths = EXCHANGES.prompts(numbers)
    hinted, hinted_lengths = EXCHANGES.hinted(numbers, HINT)
    for number, (ids, marks) in enumerate(fitting):
        prompt, answer = ids[~marks], ids[marks]
        np.testing.assert_array_equal(prompts[number][-lengths[number] :], prompt)
        np.testing.assert_array_equal(EXCHANGES.answers(numbers)[number], answer)
        shown = [*prompt[:-1], 20, 21, *answer[:-1], 22, prompt[-1]]
        np.testing.assert_array_equal(hinted[number][-hinted_lengths[number] :], shown)


def test_only_the_last_answer_of_a_conversation_is_asked_for():
    ids, marks = np.arange(8, dtype=np.int32), np.array([0, 0, 1, 1, 0, 0, 1, 1], bool)
    given = conversations([(ids, marks)])
    exchanges = Exchanges(given, pack(given, 20, 0), Room.half(20))
    np.testing.assert_array_equal(exchanges.prompts(np.array([0]))[0][0][-6:], ids[:6])
    np.testing.assert_array_equal(exchanges.answers(np.array([0]))[0], ids[6:])


def test_what_the_teacher_reads_fits_into_the_windows_of_training():
    for seq_len in (8, 11, 16, 17, 24):
        room = Room.hinted(seq_len, HINT)
        exchanges = Exchanges(conversations(), pack(conversations(), 17, 0), room)
        hinted, _ = exchanges.hinted(np.arange(len(exchanges)), HINT)
        assert hinted.shape[1] + room.answer <= seq_len
        short = [ids for ids, marks in TEXTS if marks.sum() <= room.answer and len(ids) <= room.both]
        assert (len(exchanges), exchanges.left_out) == (len(short), len(TEXTS) - len(short))


def test_hosts_share_the_same_exchanges_and_steps_have_others():
    whole_batch, made = batch(3), ExchangeBatches(EXCHANGES, HINT, 4, 0)
    for name, array in whole_batch.items():
        parts = [made.batch(3, rows)[name] for rows in (slice(0, 1), slice(1, 4))]
        np.testing.assert_array_equal(np.concatenate(parts), array[0])
    assert not np.array_equal(batch(0)["prompts"], batch(1)["prompts"])


def test_a_step_that_learns_from_own_answers_names_their_conversations():
    told = ExchangeBatches(EXCHANGES, HINT, 4, 0).describe(3)
    asked = batch(3)
    numbers = [int(number.replace(",", "")) for number in told.removeprefix("own answers to conversations ").split()]
    for number, prompt, length in zip(numbers, asked["prompts"][0], asked["prompt_lengths"][0], strict=True):
        ids, marks = TEXTS[number]
        np.testing.assert_array_equal(prompt[-int(length) :], ids[~marks])


@pytest.mark.parametrize("seq_len", [128, 256])
def test_a_step_of_own_answers_is_lowered_for_a_tpu(seq_len: int):
    """Its kernel of attention takes whole blocks of positions."""
    config = ModelConfig(64, 1, 256, 2, 2, 64, tied_embeddings=True)
    model = nnx.eval_shape(partial(LanguageModel, config, 0, Compute(attention="splash")))
    shapes = jax.ShapeDtypeStruct((1, seq_len - 32), np.int32), jax.ShapeDtypeStruct((1,), np.int32)
    answers = jax.ShapeDtypeStruct((1, 32), np.int32)
    traced = jax.jit(lambda *arrays: reading(*arrays)[0]).trace(model, *shapes, answers)
    assert "tpu_custom_call" in traced.lower(lowering_platforms=("tpu",)).as_text()


def test_an_answer_ends_with_its_first_end():
    answers = jnp.array([[4, EOS, 5, EOS], [EOS, 4, 4, 4], [4, 5, 6, 7]])
    np.testing.assert_array_equal(until_end(answers, EOS), [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]])


def test_own_answers_are_a_function_of_the_key():
    one, again, other = (
        compute(student(), teacher(), batch(), jax.random.key(key), tokens=5, eos=EOS) for key in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert one[0].divergence != other[0].divergence
    assert float(one[0].divergence) > 0
    assert 0 < float(one[0].certain) < 1


def test_parts_of_a_batch_may_hold_any_number_of_tokens():
    """Each part draws with a key of its own, so the parts' answers are put into one batch by hand."""
    model, parts = student(), batch(parts=2)
    losses, _ = compute(model, teacher(), parts, jax.random.key(0), tokens=5, eos=EOS)
    total = count = 0.0
    for number, key in enumerate(jax.random.split(jax.random.key(0), 2)):
        rows = jax.tree.map(lambda array, number=number: array[number], parts)
        answers = drawn_answers(model, rows, key, 5, EOS)
        log_p, log_q = (
            jax.nn.log_softmax(x @ table.T).reshape(2, 5, -1)
            for x, table in (
                reading(model, rows["prompts"], rows["prompt_lengths"], answers),
                reading(teacher(), rows["hinted"], rows["hinted_lengths"], answers),
            )
        )
        entropies = [-(jnp.exp(each) * each).sum(axis=-1) for each in (log_p, log_q)]
        divergence = (jnp.exp(log_p) * (log_p - log_q)).sum(axis=-1)
        counted = until_end(answers, EOS)
        total += float(jnp.where(counted & (entropies[1] < entropies[0]), divergence, 0.0).sum())
        count += float(counted.sum())
    np.testing.assert_allclose(losses.divergence, total / count, rtol=1e-5)


def test_a_prompt_is_read_as_if_it_stood_alone():
    model, rows = student(), jax.tree.map(lambda array: array[0], batch())
    answers = jnp.arange(20, dtype=jnp.int32).reshape(4, 5) % 20 + 4
    x, _ = reading(model, rows["prompts"], rows["prompt_lengths"], answers)
    length = int(rows["prompt_lengths"][1])
    alone = jnp.concatenate([rows["prompts"][1, -length:], answers[1, :-1]])[None]
    np.testing.assert_allclose(x[5:10], model.features(alone)[0, length - 1 :], rtol=1e-4, atol=1e-5)


def test_a_teacher_that_knows_no_more_teaches_nothing():
    """Without a hint, and with the weights of the student, the teacher is nowhere the more certain."""
    given = batch() | {"hinted": batch()["prompts"], "hinted_lengths": batch()["prompt_lengths"]}
    losses, slopes = compute(student(), student(), given, jax.random.key(0), tokens=5, eos=EOS)
    assert float(losses.objective) == 0
    assert not any(np.asarray(slope).any() for slope in jax.tree.leaves(slopes))


def test_a_step_along_the_gradient_lowers_the_divergence():
    """Greedy draws would be a step function of the weights; here the answers are drawn anew with the same key."""
    one, slopes = compute(student(), teacher(), batch(), jax.random.key(0), tokens=5, eos=EOS)
    less = jax.tree.map(lambda leaf, slope: leaf - 1e-3 * slope, student(), slopes)
    other, _ = compute(less, teacher(), batch(), jax.random.key(0), tokens=5, eos=EOS)
    assert float(other.divergence) < float(one.divergence)

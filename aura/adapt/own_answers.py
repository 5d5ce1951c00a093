"""Learning from own answers: on-policy self-distillation (Shenfeld et al. 2026, arXiv:2601.19897).

The model draws answers to prompts, and the teacher reads each of them behind a prompt that shows the reference answer.
The objective is KL(student ‖ teacher) at each token of the answer where the teacher is the more certain of the two, by
entropy: there it knows something from the reference that the student has yet to learn. Text that the model would not
write itself gets no gradient, so less is forgotten than with the reference text.

The method needs a model that can use an answer shown to it; the paper saw it fail at 3 B parameters. So `adapt.teach`
is `reference` by default. A step costs the drawing of answers, one token after the other, beside two passes.

Letters as in model.py, and P tokens of a prompt, T tokens of an answer.
"""

import jax
import jax.numpy as jnp

from aura.adapt.objective import Arrays, Assemble, Model, Weights, in_one_axis
from aura.adapt.weighted_losses import Losses, Output, Terms, weighted_losses
from aura.model.mesh import BATCH, moved
from aura.training.generation import continuations
from aura.training.steps import accumulated

TEMPERATURE = 1.0  # the model's own probabilities, of which the divergence is an expectation
SPLASH_BLOCK = 128  # positions; the TPU kernel of attention takes multiples of it
OWN = Terms(cross_entropy=0.0, divergence=1.0, where_certain=True)


def own_losses_and_slopes(
    assemble: Assemble,
    base: Weights,
    trained: Weights,
    teacher: Weights,
    batch: Arrays,
    key: jax.Array,
    *,
    tokens: int,
    eos: int,
) -> tuple[Losses, Weights]:
    """Losses of answers that the student draws, and the gradient for the trained weights.

    The mean is over the tokens of all answers, <eos> included. Where the teacher is the less certain, a token adds 0.

    Arguments:
        assemble: makes a model of `base` and `trained`, or of `base` and `teacher`.
        base: the weights that stay; a pytree, or None where all are trained.
        trained: the weights that the gradient is for.
        teacher: of the shapes of `trained`.
        batch: `exchanges.ExchangeBatches.batch` in parts, which are taken one after the other: (parts, B, …).
        key: decides what is drawn.
        tokens: the most of an answer.
        eos: the id that ends an answer.
    """

    def of_part(rows: Arrays) -> tuple[jax.Array, Losses, Weights]:
        answers_BxT = drawn_answers(assemble(base, trained), rows, rows["key"], tokens, eos)
        counted_BxT = until_end(answers_BxT, eos).astype(jnp.float32)
        hinted = reading(assemble(base, teacher), rows["hinted"], rows["hinted_lengths"], answers_BxT)

        def objective(trained: Weights) -> tuple[jax.Array, Losses]:
            student = reading(assemble(base, trained), rows["prompts"], rows["prompt_lengths"], answers_BxT)
            losses = weighted_losses(student, in_one_axis(answers_BxT), in_one_axis(counted_BxT), hinted, OWN)
            return losses.objective, losses

        (_, losses), slopes = jax.value_and_grad(objective, has_aux=True)(trained)
        return jnp.sum(counted_BxT), losses, slopes

    count, losses, slopes = accumulated(of_part, batch | {"key": jax.random.split(key, len(batch["prompts"]))})
    means: tuple[Losses, Weights] = jax.tree.map(lambda mean: mean / count, (losses, slopes))
    return means


def drawn_answers(model: Model, rows: Arrays, key: jax.Array, tokens: int, eos: int) -> jax.Array:
    """Draw answers to the prompts of rows: BxT int32, of which what follows the first <eos> is no answer."""
    begins_B = rows["prompts"].shape[1] - rows["prompt_lengths"]
    drawn_BxT: jax.Array = continuations(model, rows["prompts"], key, TEMPERATURE, begins_B, eos, tokens=tokens)
    return moved(drawn_BxT, BATCH, None)  # every device has drawn all; each goes on with its own rows


def until_end(answers_BxT: jax.Array, eos: int) -> jax.Array:
    """Mark the tokens of answers up to their first <eos>, and that one: BxT bool."""
    ends_BxT = (answers_BxT == eos).astype(jnp.int32)
    return jnp.cumsum(ends_BxT, axis=1) - ends_BxT == 0


def reading(model: Model, prompts_BxP: jax.Array, lengths_B: jax.Array, answers_BxT: jax.Array) -> Output:
    """Features before each token of answers that stand behind prompts, in one axis (B x T), and the output table.

    A prompt is the last `lengths_B` ids of its row; the rest is padding, which no token sees.
    """
    T = answers_BxT.shape[1]
    if model.compute.attention == "splash":  # takes whole blocks of positions
        prompts_BxP = jnp.pad(prompts_BxP, ((0, 0), (-(prompts_BxP.shape[1] + T - 1) % SPLASH_BLOCK, 0)))
    P = prompts_BxP.shape[1]
    inputs_BxS = jnp.concatenate([prompts_BxP, answers_BxT[:, :-1]], axis=1)
    segments_BxS = (jnp.arange(P + T - 1)[None, :] >= P - lengths_B[:, None]).astype(jnp.int32)
    x_BxSxD = model.features(inputs_BxS, None, segments_BxS)
    return in_one_axis(x_BxSxD[:, P - 1 :], None), model.output_table

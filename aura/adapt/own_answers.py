"""Learning from own answers: on-policy self-distillation (Shenfeld et al. 2026, arXiv:2601.19897).

The model draws answers to prompts, and the teacher reads each of them behind a prompt that shows the reference answer.
The objective is KL(student ‖ teacher) at each token of the answer where the teacher is the more certain of the two, by
entropy: there it knows something from the reference that the student has yet to learn. Text that the model would not
write itself gets no gradient, so it forgets less than from the reference text.

This asks for a model that can use an answer shown to it. The paper found gains from 7 B parameters on and losses at
3 B, so `adapt.teach` is `reference` by default. A step costs the drawing of an answer, one token at a time, beside two
passes.

Letters as in model.py, and P tokens of a prompt, T tokens of an answer.
"""

from typing import Protocol

import jax
import jax.numpy as jnp

from aura.adapt.objective import Arrays, Assemble, Model, Weights, in_one_axis
from aura.adapt.weighted_losses import Losses, Output, Terms, weighted_losses

TEMPERATURE = 1.0  # the model's own probabilities, of which the divergence is an expectation

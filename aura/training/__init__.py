"""One training loop for every stage that trains: `loop.Task` names what the stages `pretrain` and `adapt` differ in."""

import aura.model  # noqa: F401 - it quiets JAX, before a module of this folder imports it

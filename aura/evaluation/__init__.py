"""Held-out sets and tasks of a user's own, scored by the likelihood that a model gives their text."""

import aura.model  # noqa: F401 - it quiets JAX, before a module of this folder imports it

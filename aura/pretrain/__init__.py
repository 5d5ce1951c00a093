"""The stage pretrain: a language model is trained on token shards."""

import aura.model  # noqa: F401 - it quiets JAX, before a module of this folder imports it

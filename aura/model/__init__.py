"""The language model that stages hand on: models/lm."""

import logging
import os

# JAX and XLA report what they found on the machine; only their errors concern a user. Set before jax is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
logging.getLogger("jax").setLevel(logging.ERROR)

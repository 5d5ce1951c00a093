"""The locked TPU compiler is the one that the locked JAX asks for."""

import importlib.metadata
import re

from packaging.requirements import Requirement

from tests.conftest import REPOSITORY


def test_libtpu_is_what_jax_asks_for():
    asked = [Requirement(text) for text in importlib.metadata.requires("jax") or []]
    wanted = next(found for found in asked if found.name == "libtpu")
    locked = re.search(r"^libtpu==(\S+)", (REPOSITORY / "requirements-tpu.txt").read_text(), re.MULTILINE)
    assert locked is not None
    assert wanted.specifier.contains(locked[1])

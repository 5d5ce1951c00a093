"""The locked TPU compiler is the one that the locked JAX asks for, and documents name the locked versions."""

import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY

LOCKS = ("requirements.txt", "requirements-tpu.txt")
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
NAMED = re.compile(r"\b([A-Za-z][A-Za-z0-9_-]+)(?: version)?[ =]+v?([0-9]+(?:\.[0-9]+)+)\b")


def locked() -> dict[str, str]:
    """The version of every locked package, by its name in small letters."""
    text = "\n".join((REPOSITORY / name).read_text() for name in LOCKS)
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.M)}


def wrong(text: str) -> list[str]:
    """The versions of locked packages in a text that are not the locked ones; a shorter version must be its start."""
    versions = locked()
    return [
        f"{name} {version}, locked is {known}"
        for name, version in NAMED.findall(text)
        if (known := versions.get(canonicalize_name(name))) and not f"{known}.".startswith(f"{version}.")
    ]


def test_libtpu_is_what_jax_asks_for():
    asked = [Requirement(text) for text in importlib.metadata.requires("jax") or []]
    wanted = next(found for found in asked if found.name == "libtpu")
    assert wanted.specifier.contains(locked()["libtpu"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_version_in_a_document_is_the_locked_one(document: Path):
    assert wrong(document.read_text()) == []


def test_a_version_that_is_not_the_locked_one_is_found():
    assert wrong("the compiler (libtpu 0.0.1) and SentencePiece 9.9")
    assert not wrong(f"the compiler (libtpu {locked()['libtpu']})")

"""Models are compiled quickly here."""

from tests import quick_compilation  # noqa: F401 - it sets JAX up

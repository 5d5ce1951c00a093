"""The stand-in cloud, for the launches that take longer."""

from tests.tpu.conftest import cloud, pod, settings

__all__ = ["cloud", "pod", "settings"]

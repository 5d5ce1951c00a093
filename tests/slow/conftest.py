"""The stand-in cloud, for the launches that take longer; attackers and their victims."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hostile import Answer, Canary, Meet, Victim
from tests.tpu.conftest import cloud, pod, settings

__all__ = ["cloud", "pod", "settings"]


@pytest.fixture
def canary() -> Iterator[Canary]:
    canary = Canary()
    yield canary
    canary.stop()


@pytest.fixture
def serving() -> Iterator[Callable[[Answer], str]]:
    """Starts a server of an attacker; returns its address."""
    servers: list[Canary] = []

    def serve(answer: Answer) -> str:
        servers.append(Canary(answer))
        return servers[-1].address

    yield serve
    for server in servers:
        server.stop()


@pytest.fixture
def meet(tmp_path: Path) -> Iterator[Meet]:
    """Makes a victim; called again with attempts, lets that one try them."""
    victims: list[Victim] = []

    def make(server: str | None = None) -> Victim:
        victims.append(Victim(tmp_path / f"victim{len(victims)}", server))
        return victims[-1]

    yield make
    for victim in victims:
        victim.stop()

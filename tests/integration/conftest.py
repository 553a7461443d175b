"""Fixtures of the tests in which rooms work together."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.keys import Keys, Ring
from tests.support.opening import Desk, desk


@pytest.fixture
async def stranger_desk(role_ring: Ring) -> AsyncIterator[Desk]:
    """Return a desk whose ring holds the role key and nobody else's."""
    async with desk(role_ring.home) as made:
        yield made


@pytest.fixture
async def known_desk(role_ring: Ring, keys: Keys) -> AsyncIterator[Desk]:
    """Return a desk whose ring knows the reporter's certificate too."""
    role_ring.take(keys.reporter_cert)
    async with desk(role_ring.home) as made:
        yield made

"""Do the adapters that speak HTTP keep the contract while their tracker fails and lies?"""

from __future__ import annotations

import pytest
from tests.support.trackers import RemoteBench

from secbridge.testing import FaultContract, SecrecyContract


@pytest.fixture
def answer_within() -> float:
    """Return a short wait: many faults are a tracker that hangs."""
    return 0.5


@pytest.fixture
def bench(remote: RemoteBench) -> RemoteBench:
    """Return each adapter that speaks HTTP in turn."""
    return remote


class TestThroughFaults(FaultContract):
    """One issue, told once, whatever becomes of a request."""


class TestInPublic(SecrecyContract):
    """An issue that others could see never hears a word."""

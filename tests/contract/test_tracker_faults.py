"""Do the adapters that speak HTTP keep the contract while their tracker fails and lies?"""

from __future__ import annotations

import pytest
from tests.support.trackers import RemoteBench
from tests.support.trackers import answer_within as patience_with

from secbridge.testing import FaultContract, SecrecyContract


@pytest.fixture
def answer_within(request: pytest.FixtureRequest) -> float:
    """Return a short wait for the tests in which the tracker hangs."""
    if request.node.originalname.startswith("test_a_request_that_takes_effect_late"):
        return patience_with("late")
    given = request.node.callspec.params
    return patience_with(given.get("fault", ""))


@pytest.fixture
def bench(remote: RemoteBench) -> RemoteBench:
    """Return each adapter that speaks HTTP in turn."""
    return remote


class TestThroughFaults(FaultContract):
    """One issue, told once, whatever becomes of a request."""


class TestInPublic(SecrecyContract):
    """An issue that others could see never hears a word."""

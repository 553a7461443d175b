"""Does a tracker keep its promises?  The contract suite, for our adapters and for those of others.

An adapter's own tests bring a ``Bench``, the tracker with a window in its back, and derive::

    from secbridge.testing import TrackerContract

    class TestContract(TrackerContract):
        ...  # and a fixture ``bench``, here or in conftest.py

``TrackerContract`` is for every tracker, ``SecrecyContract`` for those in which an issue could be
shown to others, ``FaultContract`` for those behind a network, whose fake fails when told to.
docs/adding-a-tracker.md shows all of it.

There is no entry point for pytest: it would load in every run of everybody who has secbridge
installed.  Importing this package is enough, and it has pytest explain the asserts in here.
The daemon never imports it.
"""

import pytest

pytest.register_assert_rewrite(
    "secbridge.testing.contract", "secbridge.testing.secrecy", "secbridge.testing.faults"
)

from secbridge.testing.bench import (  # noqa: E402 - their asserts are to be explained
    Bench,
    HeldClock,
    OpenableBench,
    RemoteBench,
    Shown,
    a_context,
)
from secbridge.testing.contract import TrackerContract  # noqa: E402
from secbridge.testing.faults import FaultContract  # noqa: E402
from secbridge.testing.secrecy import SecrecyContract  # noqa: E402

__all__ = [
    "Bench",
    "FaultContract",
    "HeldClock",
    "OpenableBench",
    "RemoteBench",
    "SecrecyContract",
    "Shown",
    "TrackerContract",
    "a_context",
]

"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from secbridge import maillog
from tests.support.keys import Keys, Ring, cast, copied_ring, fresh_ring

collect_ignore = ["plugin"]
"""A distribution of its own with its own tests; tests/e2e/test_plugin.py installs and runs it."""

_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("unhurried", _UNHURRIED)  # a busy machine is slow, and nothing failed
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of corpora and specs, or skip and say how to name it."""
    checkout = Path(__file__).resolve().parent.parent
    path = Path(os.environ.get("SECBRIDGE_SHARED", checkout.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no corpora at {path}: set SECBRIDGE_SHARED to their folder")
    return path


@pytest.fixture(autouse=True)
def _a_fresh_log() -> Iterator[None]:
    """Let no test inherit the log that another one configured: a used logger remembers its own."""
    yield
    structlog.reset_defaults()
    maillog._log.__dict__.pop("bind", None)


@pytest.fixture(scope="session")
def keys() -> Iterator[Keys]:
    """Return the role's, the reporter's and a stranger's keys; read-only for the whole session."""
    with cast() as made:
        yield made


@pytest.fixture
def role_ring(keys: Keys) -> Iterator[Ring]:
    """Return a copy of the role's ring (role key only) that the test may change."""
    with copied_ring(keys.role) as ring:
        yield ring


@pytest.fixture
def reporter_ring(keys: Keys) -> Iterator[Ring]:
    """Return a copy of the reporter's ring (own key, role certificate) that the test may change."""
    with copied_ring(keys.reporter) as ring:
        yield ring


@pytest.fixture
def empty_ring() -> Iterator[Ring]:
    """Return an empty ring."""
    with fresh_ring() as ring:
        yield ring

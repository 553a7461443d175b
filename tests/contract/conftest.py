"""The benches: every adapter that has to keep the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.fake_gitlab import FakeGitLab
from tests.support.keys import Keys, Ring
from tests.support.trackers import Bench, GitLabBench, HeldClock, LocalBench

from secbridge.openpgp import GnuPG
from secbridge.store import Store


@pytest.fixture(scope="session")
def gitlab_server() -> Iterator[FakeGitLab]:
    """Return the fake GitLab of the session."""
    with FakeGitLab.start() as gitlab:
        yield gitlab


@pytest.fixture
async def local(tmp_path: Path, role_ring: Ring, keys: Keys) -> AsyncIterator[LocalBench]:
    """Return the embedded tracker over a new store."""
    store = await Store.open(tmp_path / "store.db", clock=HeldClock())
    openpgp = GnuPG(role_ring.home)
    bench = LocalBench(store, openpgp, keys.role_fpr)
    yield bench
    await bench.tracker.aclose()
    await openpgp.aclose()
    await store.aclose()


@pytest.fixture
async def gitlab(gitlab_server: FakeGitLab) -> AsyncIterator[GitLabBench]:
    """Return the GitLab adapter before an empty GitLab."""
    gitlab_server.reset()
    bench = GitLabBench(gitlab_server)
    yield bench
    await bench.tracker.aclose()


@pytest.fixture(params=["local", "gitlab"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Return each adapter in turn."""
    found: Bench = request.getfixturevalue(request.param)
    return found

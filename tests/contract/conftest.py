"""The benches: every adapter that has to keep the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.bench_github import GitHubBench
from tests.support.bench_gitlab import GitLabBench
from tests.support.bench_jira import JiraBench
from tests.support.fake_github import FakeGitHub
from tests.support.fake_gitlab import FakeGitLab
from tests.support.fake_jira import FakeJira
from tests.support.keys import Keys, Ring, copied_ring
from tests.support.stores import STORES, HeldStore, StillClock
from tests.support.trackers import Bench, HeldClock, LocalBench, RemoteBench
from tests.support.trackers import answer_within as patience_with

from secbridge.openpgp import GnuPG
from secbridge.store import Store


@pytest.fixture(params=sorted(STORES))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HeldStore]:
    """Return an empty store."""
    store = await STORES[request.param](tmp_path / "store", StillClock())
    yield store
    await store.aclose()


@pytest.fixture(scope="session")
def gitlab_server() -> Iterator[FakeGitLab]:
    """Return the fake GitLab of the session."""
    with FakeGitLab.start() as gitlab:
        yield gitlab


@pytest.fixture
def answer_within() -> float:
    """Return how long an adapter waits for its tracker, in seconds."""
    return patience_with()


@pytest.fixture(scope="session")
def contract_ring(keys: Keys) -> Iterator[Ring]:
    """Return a ring with the role key, which no test here changes."""
    with copied_ring(keys.role) as ring:
        yield ring


@pytest.fixture
async def local(tmp_path: Path, contract_ring: Ring, keys: Keys) -> AsyncIterator[LocalBench]:
    """Return the embedded tracker over a new store."""
    store = await Store.open(tmp_path / "store.db", clock=HeldClock())
    openpgp = GnuPG(contract_ring.home)
    bench = LocalBench(store, openpgp, keys.role_fpr)
    yield bench
    await bench.tracker.aclose()
    await openpgp.aclose()
    await store.aclose()


@pytest.fixture
async def gitlab(gitlab_server: FakeGitLab, answer_within: float) -> AsyncIterator[GitLabBench]:
    """Return the GitLab adapter before an empty GitLab, and see that it knew all that was said."""
    gitlab_server.reset()
    bench = GitLabBench(gitlab_server, timeout=answer_within)
    yield bench
    await bench.tracker.aclose()
    assert gitlab_server.violations() == []


@pytest.fixture(scope="session")
def github_server() -> Iterator[FakeGitHub]:
    """Return the fake GitHub of the session."""
    with FakeGitHub.start() as github:
        yield github


@pytest.fixture
async def github(github_server: FakeGitHub, answer_within: float) -> AsyncIterator[GitHubBench]:
    """Return the GitHub adapter before an empty GitHub, and see that it knew all that was said."""
    github_server.reset()
    bench = GitHubBench(github_server, timeout=answer_within)
    yield bench
    await bench.tracker.aclose()
    assert github_server.violations() == []


@pytest.fixture(scope="session")
def jira_server() -> Iterator[FakeJira]:
    """Return the fake Jira of the session."""
    with FakeJira.start() as jira:
        yield jira


@pytest.fixture
async def jira(jira_server: FakeJira, answer_within: float) -> AsyncIterator[JiraBench]:
    """Return the Jira adapter before an empty Jira in the cloud, which knew all that was said."""
    jira_server.reset()
    bench = JiraBench(jira_server, timeout=answer_within)
    yield bench
    await bench.tracker.aclose()
    assert jira_server.violations() == []


@pytest.fixture
async def data_center(jira_server: FakeJira, answer_within: float) -> AsyncIterator[JiraBench]:
    """Return the Jira adapter before an empty Data Center."""
    jira_server.reset()
    bench = JiraBench(jira_server, deployment="data-center", timeout=answer_within)
    yield bench
    await bench.tracker.aclose()
    assert jira_server.violations() == []


REMOTE = ["gitlab", "github", "jira"]
"""The adapters that speak HTTP; each is a fixture of this page."""


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest) -> RemoteBench:
    """Return each adapter that speaks HTTP in turn."""
    found: RemoteBench = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["local", *REMOTE, "data_center"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Return each adapter in turn."""
    found: Bench = request.getfixturevalue(request.param)
    return found

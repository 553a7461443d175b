"""Fixtures of the tests in which rooms work together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.bench_github import GitHubBench
from tests.support.bench_gitlab import GitLabBench
from tests.support.fake_github import FakeGitHub
from tests.support.fake_gitlab import FakeGitLab
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


@pytest.fixture(scope="session")
def gitlab_server() -> Iterator[FakeGitLab]:
    """Return the fake GitLab of the session."""
    with FakeGitLab.start() as gitlab:
        yield gitlab


@pytest.fixture
async def gitlab(gitlab_server: FakeGitLab) -> AsyncIterator[GitLabBench]:
    """Return the adapter before an empty GitLab, and see that nothing was said that is unknown."""
    gitlab_server.reset()
    bench = GitLabBench(gitlab_server)
    yield bench
    await bench.tracker.aclose()
    assert gitlab_server.violations() == []


@pytest.fixture(scope="session")
def github_server() -> Iterator[FakeGitHub]:
    """Return the fake GitHub of the session."""
    with FakeGitHub.start() as github:
        yield github


@pytest.fixture
async def github(github_server: FakeGitHub) -> AsyncIterator[GitHubBench]:
    """Return the adapter before an empty GitHub, and see that nothing was said that is unknown."""
    github_server.reset()
    bench = GitHubBench(github_server)
    yield bench
    await bench.tracker.aclose()
    assert github_server.violations() == []

"""Does a team learn that the same mail opened another case?  By a link, else by a comment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.fake_gitlab import HOME, PRODUCT, FakeGitLab
from tests.support.guarded import Installation, gitlab_config, installation
from tests.support.keys import REPORTER, ROLE, Keys, Ring
from tests.support.reports import plain_report

from secbridge.model.delivery import State
from secbridge.model.envelope import Envelope, Target

OTHER = "board@example.org"


@pytest.fixture(scope="module")
def gitlab_server() -> Iterator[FakeGitLab]:
    """Return the fake GitLab of this page."""
    with FakeGitLab.start() as gitlab:
        yield gitlab


@pytest.fixture
def gitlab(gitlab_server: FakeGitLab) -> FakeGitLab:
    """Return the fake GitLab, empty."""
    gitlab_server.reset()
    return gitlab_server


def a_config(folder: Path, gitlab: FakeGitLab, ring: Ring, keys: Keys, where: str) -> Path:
    """Write a configuration with a second alias that files somewhere else."""
    config = gitlab_config(folder, gitlab, ring, keys.role_fpr)
    other = f"""
[[alias]]
address = "{OTHER}"
role_keys = ["{keys.role_fpr}"]
assignees = ["alex"]
{where}
"""
    config.write_text(config.read_text() + other)
    return config


@pytest.fixture
async def both(
    tmp_path: Path, gitlab: FakeGitLab, role_ring: Ring, keys: Keys
) -> AsyncIterator[Installation]:
    """Return an installation whose aliases have projects of their own in one GitLab."""
    where = 'tracker = "main"\nproject = "group/product"'
    config = a_config(tmp_path / "home", gitlab, role_ring, keys, where)
    async with installation(config, keys) as here:
        yield here


async def received(here: Installation) -> list[str]:
    """Take one mail to both aliases as far as it goes; return its deliveries."""
    envelope = Envelope(REPORTER, (ROLE, OTHER), "127.0.0.1", here.clock.now())
    targets = [Target(alias, alias) for alias in (ROLE, OTHER)]
    ids = await here.house.store.accept(envelope, plain_report().as_bytes(), targets)
    for _ in range(3):
        await here.work()
        here.clock.advance(minutes=5)
    assert [State.ANSWERED] * 2 == [(await here.delivery(one)).state for one in ids]
    return list(ids)


async def test_two_issues_of_one_tracker_are_linked(both: Installation, gitlab: FakeGitLab) -> None:
    """Once, and then nobody needs a comment that says the same."""
    await received(both)
    issues = gitlab.issues()
    assert {HOME, PRODUCT} == {issue["project_id"] for issue in issues}
    assert 1 == len(gitlab.state()["links"])
    assert [] == gitlab.requests("create-note")


async def test_a_tracker_that_does_not_link_is_told_in_a_comment(
    both: Installation, gitlab: FakeGitLab
) -> None:
    """The earlier issue names the later case, once."""
    gitlab.fault("403", on="create-link", count=9)
    ids = await received(both)
    later = max([(await both.case(one)).id for one in ids])
    notes = [request["body"]["body"] for request in gitlab.requests("create-note")]
    assert [True] == [later in note for note in notes]


async def test_issues_of_two_trackers_are_told_in_a_comment(
    tmp_path: Path, gitlab: FakeGitLab, role_ring: Ring, keys: Keys
) -> None:
    """A GitLab knows no issue of the embedded tracker."""
    config = a_config(tmp_path / "home", gitlab, role_ring, keys, 'tracker = "local"')
    async with installation(config, keys) as here:
        cases = [await here.case(one) for one in await received(here)]
        later = max(case.id for case in cases)
        said = [note["body"] for issue in gitlab.issues() for note in gitlab.notes(issue["iid"])]
        said += [one.text for one in (await here.local()).comments]
    assert [True] == [later in text for text in said]
    assert [] == gitlab.state()["links"]


async def test_an_issue_that_claims_to_continue_another_is_linked_to_it(
    tmp_path: Path, gitlab: FakeGitLab, role_ring: Ring, keys: Keys
) -> None:
    """By its subject alone: two issues, one link, and no comment that says the same."""
    config = gitlab_config(tmp_path / "home", gitlab, role_ring, keys.role_fpr)
    async with installation(config, keys) as here:
        first = await here.receive(plain_report().as_bytes())
        await here.work()
        named = f"Re: [{(await here.case(first)).id}]"
        second = await here.receive(plain_report(subject=named).as_bytes())
        for _ in range(3):
            await here.work()
            here.clock.advance(minutes=5)
        assert (await here.case(first)).id != (await here.case(second)).id
    assert len(gitlab.issues()) == 2
    assert len(gitlab.state()["links"]) == 1
    assert gitlab.requests("create-note") == []

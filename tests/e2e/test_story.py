"""Does a whole story end as it must, before every tracker, wherever the power went?

Some forty events (``tests/support/story_script.py``) happen to an installation; how it ends is a
file in ``story/``, compared exactly.  In the environment ``STORY=write`` writes the files anew, to
be read before they are committed; ``STORY=keep`` keeps what happened instead beside them, and
``STORY=full`` lets the power go at every point there is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.support.fake_github import FakeGitHub
from tests.support.fake_gitlab import FakeGitLab
from tests.support.fake_jira import FakeJira
from tests.support.keys import REPORTER, Keys, copied_ring, fresh_ring
from tests.support.relay import a_relay
from tests.support.story import Cast, Fate, Plan, a_town
from tests.support.story_script import ANOTHER, CANARY, STORY
from tests.support.story_seen import commands, leaks, side_by_side, the_end
from tests.support.story_sites import EmbeddedSite, GitHubSite, GitLabSite, JiraSite, Site

from secbridge.rules.commands import CommandName

ENDS = Path(__file__).parent / "story"
HOW = os.environ.get("STORY", "")

FEWEST = 8
"""Deaths that a run has at least, beside those between two events: else it shows little."""


@pytest.fixture(scope="module")
def cast(keys: Keys) -> Iterator[Cast]:
    """Make the keys of the story, once."""
    with copied_ring(keys.reporter) as rita, fresh_ring() as team:
        team.take(keys.role_cert)
        team.take(keys.reporter_cert)
        alex = team.make_key("Alex Meyer <alex@example.org>")
        other = rita.make_key(f"Rita at work <{REPORTER}>")
        yield Cast(keys, rita, keys.reporter_fpr, other, team, alex)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder in memory, where there is such a thing: thousands of commits come quicker.

    What the disk does is another test's question; here a death is ours, and not the kernel's.
    """
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made)


@pytest.fixture
def site(
    request: pytest.FixtureRequest, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """Return the tracker of a run, empty.

    That all requests are as the vendors specify is shown elsewhere, and would take a third of the
    time here: the fakes are given no specifications.
    """
    monkeypatch.setenv("SECBRIDGE_SHARED", os.devnull)
    match request.param:
        case "gitlab":
            with FakeGitLab.start() as gitlab:
                yield GitLabSite(gitlab)
        case "github":
            with FakeGitHub.start() as github:
                yield GitHubSite(github)
        case "jira":
            with FakeJira.start() as jira:
                yield JiraSite(jira)
        case _:
            yield EmbeddedSite(keys.role_fpr)


PLANS = [
    ("local", Plan.EACH_POINT if HOW == "full" else Plan.EACH_KIND),
    *[
        (kind, Plan.EACH_POINT if HOW == "full" else Plan.EACH_REQUEST)
        for kind in ("gitlab", "github", "jira")
    ],
]
"""Where the power goes, before which tracker."""

ALWAYS = [(kind, Plan.NEVER) for kind, _ in PLANS if HOW]
"""Runs in which it never goes: they end as the others do, so they are for when those fail."""


@pytest.mark.parametrize(("site", "plan"), [*ALWAYS, *PLANS], indirect=["site"])
async def test_the_story_ends_as_it_must_wherever_the_power_goes(
    site: Site, plan: Plan, cast: Cast, folder: Path
) -> None:
    """Issues, comments and mails are exactly those of the file, and nothing leaked."""
    fate = Fate(plan)
    actual = await run(site, cast, folder, fate)
    compare(site, actual)
    assert (len(fate.deaths) > FEWEST) is (plan is not Plan.NEVER)


async def run(site: Site, cast: Cast, folder: Path, fate: Fate) -> str:
    """Let the story happen once, and return how it ended."""
    async with a_relay() as relay:
        with copied_ring(cast.keys.role) as ring:
            async with a_town(cast, site, relay, folder, ring, fate=fate) as town:
                for event in STORY:
                    if site.has_strangers or not event.needs_strangers:
                        await town.let_happen(event.name, event.act)
                assert unasked(site, commands(town)) == set()
                assert leaks(town, CANARY, ANOTHER) == []
                assert list(site.complaints()) == []
                return await the_end(town)


def unasked(site: Site, asked: set[str]) -> set[str]:
    """Return the commands that did not come; where people open no issues, none has no reporter."""
    never = set() if site.has_strangers else {CommandName.REPORTER}
    return {name.replace(" ", "-") for name in set(CommandName) - never} - asked


def compare(site: Site, actual: str) -> None:
    """Hold an end against the committed one."""
    file = ENDS / f"{site.kind}.txt"
    if HOW == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(actual)
    expected = file.read_text() if file.exists() else ""
    if expected != actual:
        if HOW == "keep":
            file.with_suffix(".happened").write_text(actual)
        pytest.fail("\n" + side_by_side(expected, actual), pytrace=False)

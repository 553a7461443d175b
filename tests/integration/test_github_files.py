"""Where are the files of a report in GitHub?  Committed to the private repository, sealed, once."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.bench_github import GitHubBench
from tests.support.fake_github import FakeGitHub
from tests.support.keys import Keys, Ring
from tests.support.messages import a_message
from tests.support.trackers import (
    CANARY,
    answer_within,
    comment_draft,
    new_key,
    persist,
    report_draft,
)

from secbridge.errors import OutcomeUnknown
from secbridge.openpgp import GnuPG
from secbridge.trackers.registry import TeamSealer

SEALED = "SB-2026-0001-1.bin.pgp"
PATH = f"octo/reports:secbridge/SB-2026-0001/{SEALED}"


@dataclass
class Team:
    """A team of one member, whose ring opens what is sealed for it."""

    sealer: TeamSealer
    member: Ring
    keys: Keys
    server: FakeGitHub

    def bench(self, **settings: Any) -> GitHubBench:
        """Return the adapter before an empty GitHub, with this team."""
        self.server.reset()
        return GitHubBench(self.server, team=self.sealer, **settings)

    def files(self) -> dict[str, bytes]:
        """Return the files that were committed."""
        return {name: b64decode(text) for name, text in self.server.state()["files"].items()}


@pytest.fixture
async def team(role_ring: Ring, keys: Keys, github_server: FakeGitHub) -> AsyncIterator[Team]:
    """Return a team whose one member is, for these tests, the holder of the reporter's key."""
    role_ring.take(keys.reporter_cert)
    openpgp = GnuPG(role_ring.home)
    sealer = TeamSealer(openpgp, (keys.role_fpr,), (keys.reporter_fpr,))
    yield Team(sealer, keys.reporter, keys, github_server)
    await openpgp.aclose()
    assert github_server.violations() == []


async def test_files_are_committed_sealed_and_linked(team: Team) -> None:
    """What GitHub holds opens with a member's key and the role key; the commit says nothing."""
    bench = team.bench()
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    (issue,), files = await bench.issues(), team.files()
    (put,) = team.server.requests("put-file")
    assert list(files) == [PATH]
    assert CANARY.encode() == team.member.decrypt(files[PATH])
    assert CANARY.encode() == team.keys.role.decrypt(files[PATH])
    assert f"- [{SEALED}]({team.server.url}/octo/reports/blob/main/" in issue.text
    assert put["body"]["message"] == "Add a file of SB-2026-0001"
    assert team.server.events() == []


async def test_the_files_of_a_comment_are_there_too(team: Team) -> None:
    """A follow-up's files stand beside it, in the folder of its case."""
    bench = team.bench()
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench, a_message()))
    await bench.tracker.ensure_comment(ref, new_key(), comment_draft(bench))
    await bench.tracker.aclose()
    (name,) = team.files()
    assert name.startswith("octo/reports:secbridge/SB-2026-0001/SB-2026-0001-D2-1")
    assert name.rpartition("/")[2] in (await bench.issues())[0].comments[0]


@pytest.mark.parametrize("fault", ["drop-after", "500-after", "conflict", "409", "slow-before"])
async def test_a_file_whose_commit_failed_once_is_there_once(team: Team, fault: str) -> None:
    """A path is written once: what has it is left, another commit in between is waited for."""
    bench = team.bench(timeout=answer_within(fault))
    team.server.fault(fault, on="put-file")
    await persist(bench, new_key().marker, report_draft(bench))
    await bench.tracker.aclose()
    (issue,) = await bench.issues()
    assert list(team.files()) == [PATH]
    assert f"[{SEALED}](" in issue.text


async def test_a_file_that_github_refuses_keeps_nobody_from_the_report(team: Team) -> None:
    """Without the right to commit, the issue names the operator's command in its place."""
    bench = team.bench()
    team.server.fault("403", on="put-file")
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    (issue,) = await bench.issues()
    assert CANARY in issue.text
    assert "Files are not here: GitHub says that the account may not do this." in issue.text
    assert "secbridge delivery files D1" in issue.text


async def test_where_a_repository_was_opened_no_file_goes(team: Team) -> None:
    """The visibility is read before files, too; ciphertext is nobody else's business either."""
    bench = team.bench()
    key, draft = new_key(), report_draft(bench)
    ref = await bench.desk.create_issue(key, draft)
    seen = await bench.desk.read_issue(ref)
    team.server.settings(visibility="public")
    with pytest.raises(Exception, match="repository-not-private"):
        await bench.desk.attach(seen, draft)
    await bench.tracker.aclose()
    assert team.files() == {}


async def test_a_text_that_does_not_fit_is_a_file_as_well(team: Team) -> None:
    """The rest of an over-long report is sealed beside it, whole."""
    bench = team.bench()
    message = a_message(text="word " * 30_000 + CANARY)
    await bench.tracker.ensure_issue(new_key(), report_draft(bench, message))
    await bench.tracker.aclose()
    (name,) = team.files()
    assert name.endswith("/SB-2026-0001.txt.pgp")
    assert CANARY.encode() in team.member.decrypt(team.files()[name])


async def test_a_branch_of_its_own_can_hold_the_files(team: Team) -> None:
    """``branch`` keeps ciphertext out of the history that people work on."""
    bench = team.bench(branch="reports")
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    (put,) = team.server.requests("put-file")
    assert put["body"]["branch"] == "reports"


@pytest.mark.parametrize(
    ("policy", "names"),
    [("upload", ["SB-2026-0001-1.bin"]), ("withhold", []), ("inline-text", [])],
)
async def test_the_policy_decides(team: Team, policy: str, names: list[str]) -> None:
    """Plain where the operator says so, else in no file at all."""
    bench = team.bench(attachments=policy)
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    assert [name.rpartition("/")[2] for name in team.files()] == names


async def test_without_keys_of_members_files_are_withheld(github: GitHubBench) -> None:
    """Nobody could open them there; the issue says how an operator gets them."""
    await github.tracker.ensure_issue(new_key(), report_draft(github))
    (issue,) = await github.issues()
    assert "no member of the team has a key" in issue.text
    assert github.github.requests("put-file") == []


async def test_a_lost_commit_is_an_unknown_outcome_of_the_issue(team: Team) -> None:
    """Something of ours is there by then, so the next try looks for it."""
    bench = team.bench()
    team.server.fault("drop-before", on="put-file")
    with pytest.raises(OutcomeUnknown) as told:
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    assert told.value.sent

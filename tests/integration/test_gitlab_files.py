"""How do files get into a GitLab?  Sealed, once, under neutral names, and to nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.bench_gitlab import GitLabBench
from tests.support.fake_gitlab import FakeGitLab
from tests.support.keys import Keys, Ring
from tests.support.messages import a_message
from tests.support.trackers import (
    CANARY,
    comment_draft,
    log_lines,
    new_key,
    persist,
    persist_comment,
    report_draft,
)

from secbridge.errors import Deferral
from secbridge.model.message import Attachment
from secbridge.openpgp import GnuPG
from secbridge.trackers.door import Upload
from secbridge.trackers.registry import TeamSealer

SEALED = "SB-2026-0001-1.bin.pgp"
IMAGE = Attachment("shot.png", "image/png", b"\x89PNG\r\n\x1a\n" + CANARY.encode(), False, False)
BINARY = Attachment("core.bin", "application/zip", b"PK" + CANARY.encode(), False, False)


@dataclass
class Team:
    """A team of one member, whose ring opens what is sealed for it."""

    sealer: TeamSealer
    member: Ring
    keys: Keys
    server: FakeGitLab

    def bench(self, **settings: Any) -> GitLabBench:
        """Return the adapter before an empty GitLab, with this team."""
        self.server.reset()
        return GitLabBench(self.server, team=self.sealer, **settings)


@pytest.fixture
async def team(role_ring: Ring, keys: Keys, gitlab_server: FakeGitLab) -> AsyncIterator[Team]:
    """Return a team whose one member is, for these tests, the holder of the reporter's key."""
    role_ring.take(keys.reporter_cert)
    openpgp = GnuPG(role_ring.home)
    sealer = TeamSealer(openpgp, (keys.role_fpr,), (keys.reporter_fpr,))
    yield Team(sealer, keys.reporter, keys, gitlab_server)
    await openpgp.aclose()
    assert gitlab_server.violations() == []


async def test_files_are_uploaded_sealed_and_linked(team: Team) -> None:
    """What GitLab holds opens with a member's key and with the role key, and with no other."""
    bench = team.bench()
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    (issue,), (upload,) = await bench.issues(), team.server.uploads()
    content = upload["content"].encode("latin-1")
    assert upload["name"] == SEALED
    assert f"- [{SEALED}]({upload['url']})" in issue.text
    assert CANARY.encode() == team.member.decrypt(content)
    assert CANARY.encode() == team.keys.role.decrypt(content)
    assert team.server.events() == []


async def test_the_files_of_a_comment_are_there_too(team: Team) -> None:
    """A later mail's files have names of their own."""
    bench = team.bench()
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench, a_message()))
    await bench.tracker.ensure_comment(ref, new_key(), comment_draft(bench))
    await bench.tracker.aclose()
    (issue,), (upload,) = await bench.issues(), team.server.uploads()
    assert f"- [{upload['name']}]({upload['url']})" in issue.comments[0]
    assert upload["name"].startswith("SB-2026-0001-D2-1.")


async def test_no_word_of_a_file_is_sent_before_the_proof(team: Team) -> None:
    """Even ciphertext and its size come after the issue is seen to be secret."""
    bench = team.bench()
    bench.keep_no_secret()
    with log_lines(), pytest.raises(Deferral):
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    assert team.server.uploads() == []


@pytest.mark.parametrize("on", ["update-issue", "read-issue"])
async def test_a_try_that_failed_after_the_upload_does_not_upload_again(
    team: Team, on: str
) -> None:
    """The address is remembered, since GitLab tells it once and never again."""
    bench = team.bench()
    team.server.fault("500-before", on=on, skip=1 if on == "read-issue" else 0)
    await persist(bench, new_key().marker, report_draft(bench))
    await bench.tracker.aclose()
    assert len(team.server.uploads()) == 1
    assert len(await bench.issues()) == 1


@pytest.mark.parametrize(
    "fault", ["500-before", "500-after", "drop-after", "201-empty", "html-200", "429"]
)
async def test_an_upload_that_fails_is_made_good(team: Team, fault: str) -> None:
    """Issue and comment are there once and name a file that is there, whatever was lost."""
    bench = team.bench()
    for file in (report_draft(bench), comment_draft(bench)):
        assert len(file.attachments) == 1
    team.server.fault(fault, on="upload")
    with log_lines():
        ref = await persist(bench, new_key().marker, report_draft(bench))
    team.server.fault(fault, on="upload")
    with log_lines():
        await persist_comment(bench, ref, new_key().marker, comment_draft(bench))
    await bench.tracker.aclose()
    (issue,) = await bench.issues()
    urls = [upload["url"] for upload in team.server.uploads()]
    assert sum(f"({url})" in issue.text for url in urls) == 1
    assert sum(f"({url})" in issue.comments[0] for url in urls) == 1


async def test_a_file_that_gitlab_refuses_keeps_nobody_from_reading(team: Team) -> None:
    """The report is told, with the command by which an operator gets the file."""
    bench = team.bench()
    team.server.settings(max_upload=10)
    with log_lines():
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    (issue,) = await bench.issues()
    assert "Files are not here: The tracker does not take a request of this size." in issue.text
    assert "secbridge delivery" in issue.text
    assert CANARY in issue.text


async def test_without_a_key_of_the_team_files_are_withheld(gitlab: GitLabBench) -> None:
    """Nobody could open them; the operator's command is named instead, in issue and comment."""
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    await gitlab.tracker.ensure_comment(ref, new_key(), comment_draft(gitlab))
    (issue,) = await gitlab.issues()
    for text in (issue.text, *issue.comments):
        assert "no member of the team has a key" in text
        assert "An operator gets them with: secbridge delivery" in text
    assert gitlab.gitlab.uploads() == []


async def test_withhold_shows_no_text_of_a_file_either(gitlab_server: FakeGitLab) -> None:
    """The policy ``withhold`` drops the texts of files that an issue would show."""
    gitlab_server.reset()
    bench = GitLabBench(gitlab_server, attachments="withhold")
    file = Attachment("poc.txt", "text/plain", CANARY.encode(), False, False)
    await bench.tracker.ensure_issue(
        new_key(), report_draft(bench, a_message(text="See the file.", attachments=(file,)))
    )
    await bench.tracker.aclose()
    assert CANARY not in bench.bodies()


# ── Plain files ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"visibility": "private", "media_protected": True}, {1: "plain", 2: "plain"}),
        ({"visibility": "internal", "media_protected": True}, {1: "plain", 2: "plain"}),
        ({"visibility": "private", "media_protected": False}, {1: "sealed", 2: "plain"}),
        ({"visibility": "public", "media_protected": True}, {1: "sealed", 2: "sealed"}),
    ],
)
async def test_plain_files_go_only_where_the_project_protects_them(
    team: Team, settings: dict[str, Any], expected: dict[int, str]
) -> None:
    """Read afresh before each upload: images need a protection of their own."""
    bench = team.bench(attachments="upload")
    team.server.settings(**settings)
    message = a_message(attachments=(IMAGE, BINARY))
    await bench.tracker.ensure_issue(new_key(), report_draft(bench, message))
    await bench.tracker.aclose()
    found = {
        int(upload["name"].split("-")[3].split(".")[0]): (
            "plain" if CANARY in upload["content"] else "sealed"
        )
        for upload in team.server.uploads()
    }
    assert expected == found
    assert team.server.events() == []


async def test_the_fake_would_have_told(gitlab: GitLabBench) -> None:
    """A plain upload in a public project is seen, so the test before this one means something."""
    gitlab.gitlab.settings(visibility="public")
    draft = report_draft(gitlab, a_message(attachments=(BINARY,)))
    (file,) = draft.attachments
    await gitlab.desk.door.upload("try", "/projects/7/uploads", Upload(file.name, file.content))
    assert [event["kind"] for event in gitlab.gitlab.events()] == ["exposed"]


# ── Long texts ───────────────────────────────────────────────────────────────────────────────────


async def test_a_report_that_is_too_long_is_cut_and_names_the_command(gitlab: GitLabBench) -> None:
    """GitLab takes a megabyte; the rest is one command away."""
    draft = report_draft(gitlab, a_message(text="€uro " * 500_000))
    await gitlab.tracker.ensure_issue(new_key(), draft)
    (issue,) = await gitlab.issues()
    assert 900_000 < len(issue.text.encode()) <= 1_048_576
    assert "more characters do not fit" in issue.text


async def test_the_whole_of_a_cut_text_is_a_sealed_file(team: Team) -> None:
    """A team with keys needs no operator to read on, in issue and comment alike."""
    bench = team.bench(timeout=5)
    long = a_message(text="word " * 300_000 + CANARY)
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench, long))
    await bench.tracker.ensure_comment(ref, new_key(), comment_draft(bench, long))
    await bench.tracker.aclose()
    (issue,) = await bench.issues()
    wholes = [
        team.member.decrypt(one["content"].encode("latin-1")) for one in team.server.uploads()
    ]
    assert CANARY not in issue.text
    assert [CANARY.encode() in whole for whole in wholes] == [True, True]
    for text, upload in zip((issue.text, issue.comments[0]), team.server.uploads(), strict=True):
        assert f"[{upload['name']}]({upload['url']})" in text
        assert upload["name"].endswith(".txt.pgp")

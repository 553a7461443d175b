"""How does a report become a draft security advisory?  Proven by its state, told in its text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest
from tests.support.bench_github import GitHubBench
from tests.support.fake_github import FakeGitHub
from tests.support.fake_github_text import alive
from tests.support.messages import a_message
from tests.support.payloads import PAYLOADS
from tests.support.trackers import (
    CANARY,
    alarms,
    comment_draft,
    log_lines,
    new_key,
    persist,
    persist_comment,
    report_draft,
)

from secbridge.errors import Deferral, NotConfidential, OutcomeUnknown, PermanentFault
from secbridge.model.issue import Actor, CommentWritten, IssueChange, IssueChanged, Severity
from secbridge.ports import EffectKey
from secbridge.rules.drafting import markdown
from secbridge.trackers.github_answers import Record, record_in

PRODUCT, BESIDE = "octo/product", "octo/beside"


def advisory_bench(server: FakeGitHub, **settings: Any) -> GitHubBench:
    """Return the adapter in advisory mode; comments go to a repository beside it by default."""
    given = {"mode": "advisory", "companion": BESIDE}
    return GitHubBench(server, project=PRODUCT, **(given | settings))


@pytest.fixture
async def advisories(github_server: FakeGitHub) -> AsyncIterator[GitHubBench]:
    """Return the adapter in advisory mode before an empty GitHub."""
    github_server.reset()
    bench = advisory_bench(github_server)
    yield bench
    await bench.tracker.aclose()
    assert github_server.violations() == []


# ── The advisory ─────────────────────────────────────────────────────────────────────────────────


async def test_a_report_becomes_a_draft_that_says_what_it_has_no_fields_for(
    advisories: GitHubBench,
) -> None:
    """Labels, people and date stand in the text; the state is proven; nothing acts."""
    draft = report_draft(advisories, a_message(text=CANARY))
    with log_lines() as lines:
        ref = await advisories.tracker.ensure_issue(new_key(), draft)
    (made,) = advisories.github.advisories()
    state = await advisories.tracker.look(ref)
    assert (made["state"], made["summary"]) == ("draft", "Security report SB-2026-0001")
    assert CANARY in made["description"]
    assert "| **Labels** | Security |" in made["description"]
    assert "| **Assigned to** | alex |" in made["description"]
    assert "Publishing it publishes that, too" in made["description"]
    assert (state.labels, state.assignees) == (("Security",), ("alex",))
    assert (state.confidential, state.open, state.due) == (True, True, date(2026, 11, 27))
    assert (ref.project, ref.number) == (PRODUCT, made["ghsa_id"])
    assert (alarms(lines), advisories.github.events()) == ([], [])


async def test_the_create_holds_nothing_of_the_mail(advisories: GitHubBench) -> None:
    """Header and record only, until the state is read back."""
    await advisories.tracker.ensure_issue(new_key(), report_draft(advisories))
    (create,) = advisories.github.requests("create-advisory")
    assert CANARY not in repr(create)
    assert "reporter@example.net" not in repr(create)
    kinds = [one["kind"] for one in advisories.github.requests()]
    assert kinds.index("read-advisory") < kinds.index("update-advisory")


async def test_the_settings_of_an_advisory_are_sent(github_server: FakeGitHub) -> None:
    """Severity, credits, package, collaborators and teams are as configured."""
    github_server.reset()
    bench = advisory_bench(
        github_server,
        severity="high",
        credits={"kim": "coordinator"},
        ecosystem="pip",
        package="product",
        collaborators=["kim"],
        collaborating_teams=["security"],
    )
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    (made,) = github_server.advisories()
    assert made["severity"] == "high"
    assert made["credits"] == [{"login": "kim", "type": "coordinator"}]
    assert made["vulnerabilities"][0]["package"] == {"ecosystem": "pip", "name": "product"}
    assert [one["login"] for one in made["collaborating_users"]] == ["kim"]
    assert [one["slug"] for one in made["collaborating_teams"]] == ["security"]
    assert github_server.violations() == []


async def test_a_cvss_vector_takes_the_place_of_the_severity(github_server: FakeGitHub) -> None:
    """GitHub takes one of the two."""
    github_server.reset()
    vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
    bench = advisory_bench(github_server, cvss_vector=vector)
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    (made,) = github_server.advisories()
    assert (made["severity"], made["cvss"]["vector_string"]) == (None, vector)


async def test_collaborators_whom_github_refuses_keep_nobody_from_the_report(
    github_server: FakeGitHub,
) -> None:
    """The text says who should read along and does not."""
    github_server.reset()
    github_server.fault("collaborators-refused")
    bench = advisory_bench(github_server, collaborators=["gone"])
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    (made,) = github_server.advisories()
    assert "Not made collaborators, though the settings ask for it: `gone`." in made["description"]
    assert CANARY in made["description"]


async def test_credits_that_github_refuses_are_told_by_the_setting(
    github_server: FakeGitHub,
) -> None:
    """A refusal in this mode is about the advisory's own settings."""
    github_server.reset()
    bench = advisory_bench(github_server, credits={"nobody-here": "finder"})
    with pytest.raises(PermanentFault) as told:
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    assert told.value.setting == "trackers.t.severity"
    assert "credits" in told.value.mend


@pytest.mark.parametrize("on", ["create-advisory", "update-advisory", "read-advisory"])
@pytest.mark.parametrize("fault", ["drop-before", "drop-after", "html-200-after", "307"])
async def test_whatever_fails_once_there_is_one_advisory_told_once(
    advisories: GitHubBench, fault: str, on: str
) -> None:
    """Found again by its marker in the list, newest first, and never made twice."""
    advisories.github.fault(fault, on=on)
    with log_lines():
        await persist(advisories, new_key().marker, report_draft(advisories))
    (made,) = advisories.github.advisories()
    assert CANARY in made["description"]
    assert advisories.github.elsewhere() == []


async def test_an_advisory_of_somebody_else_with_our_marker_is_not_ours(
    advisories: GitHubBench,
) -> None:
    """Who pastes a marker gets no report."""
    key, draft = new_key(), report_draft(advisories)
    advisories.github.fault("drop-after", on="create-advisory")
    with pytest.raises(OutcomeUnknown):
        await advisories.tracker.ensure_issue(key, draft)
    advisories.github.settings(bot="alex")
    other = advisory_bench(advisories.github)
    await persist(other, key.marker, draft)
    await other.tracker.aclose()
    theirs, ours = advisories.github.advisories()
    assert CANARY not in theirs["description"]
    assert CANARY in ours["description"]


async def test_an_advisory_is_found_page_after_page(github_server: FakeGitHub) -> None:
    """The list has no numbers of pages: the cursor of its link is followed."""
    github_server.reset()
    bench = advisory_bench(github_server, timeout=10)
    key, draft = new_key(), report_draft(bench)
    await bench.tracker.ensure_issue(key, draft)
    github_server.edit(0, drafts=105)
    await bench.tracker.ensure_issue(EffectKey(key.marker, bench.clock.now()), draft)
    await bench.tracker.aclose()
    asked = [one["body"] for one in github_server.requests("list-advisories")]
    assert [one.get("after") for one in asked] == [None, "100"]
    assert len(github_server.advisories()) == 106


async def test_one_that_is_published_while_it_is_told_is_taken_back(
    advisories: GitHubBench,
) -> None:
    """No request closes a published advisory; its text goes back to the header, and it alarms."""
    advisories.github.fault("publishes")
    with log_lines() as lines, pytest.raises(NotConfidential):
        await advisories.tracker.ensure_issue(new_key(), report_draft(advisories))
    (made,) = advisories.github.advisories()
    assert CANARY not in made["description"]
    assert alarms(lines) == ["tracker.not_confidential"]


async def test_one_that_was_published_before_it_is_told_hears_nothing(
    advisories: GitHubBench,
) -> None:
    """The state is read once more just before the telling."""
    draft = report_draft(advisories)
    ref = await advisories.desk.create_issue(new_key(), draft)
    advisories.github.edit(ref.number, state="published", published_at="2026-01-01T00:00:00Z")
    with log_lines(), pytest.raises(NotConfidential):
        await advisories.desk.tell(ref, CANARY, draft)
    assert CANARY not in advisories.bodies()


async def test_a_draft_that_was_closed_is_still_a_secret(advisories: GitHubBench) -> None:
    """Closing ends the work on it and shows it to nobody."""
    ref = await advisories.tracker.ensure_issue(new_key(), report_draft(advisories))
    await advisories.tracker.update(ref, IssueChange(open=False))
    state = await advisories.tracker.look(ref)
    assert (state.open, state.confidential) == (False, True)


async def test_a_change_is_written_into_the_text(advisories: GitHubBench) -> None:
    """Labels, people and date change in table and record, and nothing else does."""
    ref = await advisories.tracker.ensure_issue(new_key(), report_draft(advisories))
    before = advisories.github.advisories()[0]["description"]
    change = IssueChange(
        add_labels=("triaged",), remove_labels=("none",), assignees=("kim",), due=date(2027, 1, 2)
    )
    await advisories.tracker.update(ref, change)
    (made,) = advisories.github.advisories()
    state = await advisories.tracker.look(ref)
    assert (state.labels, state.assignees) == (("Security", "triaged"), ("kim",))
    assert state.due == date(2027, 1, 2)
    assert "| **Assigned to** | kim |" in made["description"]
    different = [line for line in made["description"].split("\n") if line not in before.split("\n")]
    assert len(different) == 4
    assert alive(made["description"]) == []


async def test_a_text_that_people_wrote_anew_takes_a_record_again(advisories: GitHubBench) -> None:
    """A label is written above a text that lost its record, and the text stays."""
    ref = await advisories.tracker.ensure_issue(new_key(), report_draft(advisories))
    advisories.github.edit(ref.number, description="Our own words.")
    await advisories.tracker.update(ref, IssueChange(add_labels=("triaged",)))
    (made,) = advisories.github.advisories()
    assert "Our own words." in made["description"]
    assert (await advisories.tracker.look(ref)).labels == ("triaged",)


async def test_nothing_in_a_mail_comes_alive(advisories: GitHubBench) -> None:
    """All hostile payloads, our own record's form among them, are text in an advisory, too."""
    hostile = "\n\n".join(text for text in PAYLOADS.values() if len(text) < 500)
    message = a_message(text=hostile, subject=PAYLOADS["mentions"])
    ref = await advisories.tracker.ensure_issue(new_key(), report_draft(advisories, message))
    assert advisories.github.events() == []
    assert (await advisories.tracker.look(ref)).labels == ("Security",)


# ── Comments beside it ───────────────────────────────────────────────────────────────────────────


async def test_comments_go_to_one_issue_in_the_private_repository(advisories: GitHubBench) -> None:
    """It is made once, names the advisory, and is linked from its text."""
    ref = await advisories.tracker.ensure_issue(new_key(), report_draft(advisories))
    for text in (CANARY, "more"):
        draft = comment_draft(advisories, a_message(text=text))
        comment = await advisories.tracker.ensure_comment(ref, new_key(), draft)
        assert comment.issue == ref
    (issue,) = advisories.github.issues(BESIDE)
    (made,) = advisories.github.advisories()
    notes = advisories.github.notes(1, BESIDE)
    assert issue["title"] == "Comments on security report SB-2026-0001"
    assert f"[advisory]({ref.url})" in issue["body"]
    assert f"- [comments]({issue['html_url']})" in made["description"]
    assert [CANARY in note["body"] for note in notes] == [True, False]
    assert advisories.github.events() == []


@pytest.mark.parametrize("on", ["create-issue", "create-note", "update-issue", "update-advisory"])
@pytest.mark.parametrize("fault", ["drop-before", "drop-after"])
async def test_a_comment_that_fails_once_is_there_once(
    advisories: GitHubBench, fault: str, on: str
) -> None:
    """However far it came, there is one issue beside the advisory, and one comment on it."""
    ref = await advisories.tracker.ensure_issue(new_key(), report_draft(advisories))
    advisories.github.fault(fault, on=on)
    draft = comment_draft(advisories, a_message(text=CANARY))
    with log_lines():
        await persist_comment(advisories, ref, new_key().marker, draft)
    assert len(advisories.github.issues(BESIDE)) == 1
    assert len(advisories.github.notes(1, BESIDE)) == 1


async def test_a_private_repository_that_was_opened_hears_nothing(advisories: GitHubBench) -> None:
    """The repository beside an advisory is asked as strictly as one of its own."""
    ref = await advisories.tracker.ensure_issue(new_key(), report_draft(advisories, a_message()))
    advisories.github.settings(visibilities={PRODUCT: "public", BESIDE: "public"})
    draft = comment_draft(advisories, a_message(text=CANARY))
    with log_lines(), pytest.raises(Deferral) as told:
        await advisories.tracker.ensure_comment(ref, new_key(), draft)
    assert told.value.alarm
    assert CANARY not in repr(advisories.github.state()["issues"])
    assert advisories.github.state()["notes"] == []


async def test_on_a_published_advisory_comments_stay_secret(advisories: GitHubBench) -> None:
    """The issue beside it is private still, which is proven before it is told."""
    ref = await advisories.tracker.ensure_issue(new_key(), report_draft(advisories, a_message()))
    advisories.github.edit(ref.number, state="published", published_at="2026-01-01T00:00:00Z")
    key, draft = new_key(), comment_draft(advisories, a_message(text=CANARY))
    await advisories.tracker.ensure_comment(ref, key, draft)
    (note,) = advisories.github.notes(1, BESIDE)
    assert note["body"] == markdown.told_comment(draft, key.marker, limit=65_536)
    (create,) = advisories.github.requests("create-note")
    assert CANARY not in repr(create)


async def test_without_a_place_for_comments_they_wait_and_the_settings_are_named(
    github_server: FakeGitHub,
) -> None:
    """Nothing is guessed; once one is configured the delivery drains."""
    github_server.reset()
    bench = advisory_bench(github_server, companion="")
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    key, draft = new_key(), comment_draft(bench)
    with pytest.raises(PermanentFault) as told:
        await bench.tracker.ensure_comment(ref, key, draft)
    await bench.tracker.aclose()
    assert told.value.setting == "trackers.t.companion"
    assert "advisory_comments" in told.value.mend
    mended = advisory_bench(github_server)
    await mended.tracker.ensure_comment(ref, key, draft)
    await mended.tracker.aclose()
    assert len(github_server.notes(1, BESIDE)) == 1


# ── Comments of the advisory itself: a preview, built from its announcement ──────────────────────


async def test_the_preview_takes_comments_where_it_is_switched_on(
    github_server: FakeGitHub,
) -> None:
    """Created, read back, found again by the marker; nothing goes elsewhere."""
    github_server.reset()
    bench = advisory_bench(github_server, companion="", advisory_comments=True)
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    key, draft = new_key(), comment_draft(bench, a_message(text=CANARY))
    first = await bench.tracker.ensure_comment(ref, key, draft)
    again = EffectKey(key.marker, bench.clock.now())
    assert first == await bench.tracker.ensure_comment(ref, again, draft)
    await bench.tracker.aclose()
    (note,) = github_server.state()["advisory_notes"]
    assert note["body"] == bench.told_comment(key, draft)
    assert github_server.state()["issues"] == []


async def test_the_preview_writes_nothing_to_a_published_advisory(
    github_server: FakeGitHub,
) -> None:
    """What is said there might be seen by others."""
    github_server.reset()
    bench = advisory_bench(github_server, companion="", advisory_comments=True)
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench, a_message()))
    github_server.edit(ref.number, state="published", published_at="2026-01-01T00:00:00Z")
    with pytest.raises(PermanentFault) as told:
        await bench.tracker.ensure_comment(ref, new_key(), comment_draft(bench))
    await bench.tracker.aclose()
    assert told.value.code == "advisory-published"
    assert github_server.state()["advisory_notes"] == []


# ── What people do ───────────────────────────────────────────────────────────────────────────────


async def test_comments_beside_an_advisory_are_told_as_comments_on_it(
    advisories: GitHubBench,
) -> None:
    """Where they are kept is our own business; other issues there are none of ours."""
    _, cursor = await advisories.tracker.events(None)
    ref = await advisories.tracker.ensure_issue(new_key(), report_draft(advisories))
    await advisories.tracker.ensure_comment(ref, new_key(), comment_draft(advisories))
    advisories.github.edit(f"{BESIDE}#1", comment="sb: accept", by="kim")
    advisories.github.edit(f"{BESIDE}#9", open="Another", by="alex")
    advisories.github.edit(f"{BESIDE}#9", comment="not ours", by="kim")
    events, cursor = await advisories.tracker.events(cursor)
    again, _ = await advisories.tracker.events(cursor)
    told = [(one.text, one.issue) for one in events if isinstance(one, CommentWritten)]
    assert told == [("sb: accept", ref)]
    assert [one.issue for one in events if isinstance(one, IssueChanged)] == [ref]
    assert again == []


async def test_comments_of_the_preview_are_told(github_server: FakeGitHub) -> None:
    """Each open advisory is asked, since a comment may not change its time."""
    github_server.reset()
    bench = advisory_bench(github_server, companion="", advisory_comments=True)
    _, cursor = await bench.tracker.events(None)
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.ensure_comment(ref, new_key(), comment_draft(bench))
    github_server.edit(ref.number, comment="sb: hold", by="alex")
    events, _ = await bench.tracker.events(cursor)
    await bench.tracker.aclose()
    (comment,) = [one for one in events if isinstance(one, CommentWritten)]
    assert (comment.text, comment.author) == ("sb: hold", Actor("1", "alex"))


async def test_who_commands_is_asked_where_comments_are_written(advisories: GitHubBench) -> None:
    """A role in the public code is not one in the private repository."""
    assert await advisories.tracker.may_command(Actor("1", "alex"))
    advisories.github.settings(visibilities={PRODUCT: "public"})
    assert not await advisories.tracker.may_command(Actor("2", "kim"))
    assert not await advisories.tracker.may_command(Actor("42", "secbridge-bot"))


# ── check ────────────────────────────────────────────────────────────────────────────────────────


async def test_check_of_a_good_pair_has_nothing_to_mend(advisories: GitHubBench) -> None:
    """Code that is public, and a private repository beside it."""
    found = await advisories.tracker.check()
    assert [one.text for one in found if one.severity is not Severity.OK] == []
    assert "Private vulnerability reporting is on." in [one.text for one in found]


@pytest.mark.parametrize(
    ("settings", "severity", "expected"),
    [
        ({"visibilities": {PRODUCT: "private"}}, Severity.ERROR, "makes no advisories in private"),
        ({"visibilities": {PRODUCT: "public", BESIDE: "public"}}, Severity.ERROR, "not private"),
        ({"reporting": False}, Severity.OK, "vulnerability reporting is off"),
        ({"token": "another"}, Severity.ERROR, "refuses the token"),
    ],
)
async def test_check_finds_what_is_wrong(
    advisories: GitHubBench, settings: dict[str, Any], severity: Severity, expected: str
) -> None:
    """Each finding names the setting and the mend."""
    advisories.github.settings(**settings)
    found = [one for one in await advisories.tracker.check() if expected in one.text]
    assert found
    assert {one.severity for one in found} == {severity}


async def test_check_names_missing_collaborators_and_a_missing_place(
    github_server: FakeGitHub,
) -> None:
    """Both would be noticed only when the next report comes."""
    github_server.reset()
    bench = advisory_bench(github_server, companion="", collaborators=["nobody-here"])
    found = {one.setting for one in await bench.tracker.check() if one.mend}
    await bench.tracker.aclose()
    assert found == {"trackers.t.companion", "trackers.t.collaborators"}


# ── The record ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("label", ["a", "-->", "<!--", '"', "--", "\n", "&", "é", "\\u003c"])
def test_a_record_is_one_line_that_ends_no_comment(label: str) -> None:
    """Whatever a label is, the line says it and stays a comment."""
    record = Record((label,), ("alex",), date(2026, 11, 27), "https://x/o/r/issues/1")
    assert record_in(f"text\n{record.line}\n<!-- end -->") == record
    assert record.line.count("-->") == 1
    assert "\n" not in record.line


@pytest.mark.parametrize(
    "body",
    ["", "<!-- secbridge:record=nonsense -->", "<!-- secbridge:record=[] -->", " <!-- x -->"],
)
def test_a_text_without_a_record_has_none(body: str) -> None:
    """What is none of ours is not read."""
    assert record_in(body) is None

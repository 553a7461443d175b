"""What is special about Jira?  Its levels, moves, keys, workflows, roles, files, and its logins."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.bench_jira import JiraBench
from tests.support.fake_jira import ELSEWHERE, MANAGEMENT, OTHERS, TEAM, USER, FakeJira
from tests.support.fake_jira_spec import specification
from tests.support.keys import Keys, Ring
from tests.support.messages import a_message
from tests.support.payloads import PAYLOADS
from tests.support.trackers import (
    CANARY,
    PATIENCE,
    alarms,
    comment_draft,
    log_lines,
    new_key,
    persist,
    persist_comment,
    report_draft,
)

from secbridge.errors import Deferral, NotConfidential, OutcomeUnknown, PermanentFault
from secbridge.model.issue import IssueChange
from secbridge.openpgp import GnuPG
from secbridge.ports import EffectKey
from secbridge.trackers import jira_answers as answers
from secbridge.trackers.jira_finding import RUN
from secbridge.trackers.registry import TeamSealer


@pytest.fixture(scope="module")
def server() -> Iterator[FakeJira]:
    """Return the fake Jira of this module."""
    with FakeJira.start() as jira:
        yield jira


@pytest.fixture(autouse=True)
def _specified(server: FakeJira) -> Iterator[None]:
    """See that all that was said to the fake, and by it, is what Atlassian specifies."""
    yield
    assert server.violations() == []


@pytest.fixture
async def jira(server: FakeJira) -> AsyncIterator[JiraBench]:
    """Return the adapter before an empty Jira in the cloud."""
    server.reset()
    bench = JiraBench(server)
    yield bench
    await bench.tracker.aclose()


@pytest.fixture(params=["cloud", "data-center"])
async def both(server: FakeJira, request: pytest.FixtureRequest) -> AsyncIterator[JiraBench]:
    """Return the adapter before an empty Jira of each deployment."""
    server.reset()
    bench = JiraBench(server, deployment=request.param)
    yield bench
    await bench.tracker.aclose()


# ── The fake answers as Jira does ────────────────────────────────────────────────────────────────


async def test_the_fake_notices_what_atlassian_does_not_specify(jira: JiraBench) -> None:
    """A property that may only be read, sent by hand, is a violation; nothing of ours was one."""
    if not specification().is_file():
        pytest.skip(f"no specification of Jira at {specification()}: set SECBRIDGE_SHARED")
    ref = await jira.tracker.ensure_issue(new_key(), report_draft(jira))
    await jira.tracker.ensure_comment(ref, new_key(), comment_draft(jira))
    assert jira.jira.violations() == []
    by_hand = {"body": {"type": "doc", "version": 1, "content": []}, "jsdPublic": True}
    post(jira, f"issue/{ref.id}/comment", by_hand)
    assert len(jira.jira.violations()) == 1
    jira.jira.settings(exchanges={})


def post(jira: JiraBench, path: str, body: object) -> None:
    """Send a request as nobody of ours would."""
    url = f"{jira.jira.url}/rest/api/3/{path}"
    request = urllib.request.Request(url, method="POST")  # noqa: S310 - our own loopback
    password = urllib.request.HTTPPasswordMgrWithPriorAuth()
    password.add_password(None, jira.jira.url, USER, jira.token, is_authenticated=True)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(password))
    request.add_header("Content-Type", "application/json")
    request.data = json.dumps(body).encode()
    opener.open(request, timeout=60).close()


# ── Nothing acts ─────────────────────────────────────────────────────────────────────────────────


async def test_nothing_in_a_mail_comes_alive(both: JiraBench) -> None:
    """All payloads at once, in issue and comment: nobody is mentioned, nothing loads or runs."""
    hostile = "\n".join(text[:300] for text in PAYLOADS.values())
    message = a_message(text=hostile, subject=hostile[:200], authors=("[~alex]",))
    draft = report_draft(both, message, labels=("Security",))
    with log_lines() as lines:
        ref = await both.tracker.ensure_issue(new_key(), draft)
        await both.tracker.ensure_comment(ref, new_key(), comment_draft(both, message))
    assert both.jira.events() == []
    assert alarms(lines) == []


async def test_the_fake_would_have_brought_it_to_life(both: JiraBench) -> None:
    """The same Jira does act on text that nobody put to sleep."""
    ref = await both.tracker.ensure_issue(new_key(), report_draft(both))
    mention: Any = {"type": "mention", "attrs": {"id": "alex"}}
    paragraph = {
        "type": "doc",
        "version": 1,
        "content": [{"type": "paragraph", "content": [mention]}],
    }
    text = json.dumps(paragraph) if both.deployment == "cloud" else "[~alex]"
    await both.desk.tell(ref, text, report_draft(both))
    assert len(both.jira.events()) == 1


async def test_a_text_that_jira_changed_raises_an_alarm(both: JiraBench) -> None:
    """What was told is compared with what is there: a difference means that something acted."""
    both.jira.fault("text-mangled")
    with log_lines() as lines:
        await both.tracker.ensure_issue(new_key(), report_draft(both))
    assert alarms(lines) == ["tracker.interpreted"]


async def test_a_report_that_is_too_long_is_cut_and_stands_beside_it_whole(
    both: JiraBench,
) -> None:
    """Jira takes 32,767 characters of a text; a file beside it holds all of them."""
    draft = report_draft(both, a_message(text="€uro {code} " * 9_000), attachments=())
    with log_lines() as lines:
        await both.tracker.ensure_issue(new_key(), draft)
    (issue,) = both.jira.issues()
    assert alarms(lines) == []
    assert "more characters do not fit" in (await both.issues())[0].text
    (whole,) = [file for file in issue["files"] if file["name"] == "SB-2026-0001.txt"]
    assert whole["content"].count("uro {code}") == 9_000


# ── Security levels ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("level", ["Team", TEAM])
async def test_the_level_is_set_by_name_or_id_and_read_back(server: FakeJira, level: str) -> None:
    """The create asks for the level, and the issue is told because it shows it."""
    server.reset()
    bench = JiraBench(server, security_level=level)
    server.settings(default_level="")
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    (issue,) = server.issues()
    assert issue["fields"]["security"]["id"] == TEAM
    (create,) = server.requests("create-issue")
    asked = {"id": TEAM} if level == TEAM else {"name": "Team"}
    assert create["body"]["fields"]["security"] == asked


async def test_without_a_configured_level_the_default_one_is_proven(server: FakeJira) -> None:
    """The neutral issue shows a level that nobody asked for: that is the project's default."""
    server.reset()
    bench = JiraBench(server, security_level="")
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    ((issue,), (create,)) = server.issues(), server.requests("create-issue")
    assert "security" not in create["body"]["fields"]
    assert issue["fields"]["security"]["id"] == TEAM
    assert CANARY in repr(issue["fields"]["description"])


async def test_without_any_level_jira_never_gets_a_word(server: FakeJira) -> None:
    """Neither configured nor given by default: closed, alarmed, and nothing told."""
    server.reset()
    server.settings(default_level="")
    bench = JiraBench(server, security_level="")
    with log_lines() as lines, pytest.raises(NotConfidential):
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    (issue,) = await bench.issues()
    assert (issue.confidential, issue.open) == (False, False)
    assert CANARY not in bench.bodies()
    assert alarms(lines) == ["tracker.not_confidential"]


async def test_another_level_than_the_configured_one_is_no_proof(jira: JiraBench) -> None:
    """An issue that lands on the level of other people is not told."""
    jira.jira.fault("security-ignored")
    jira.jira.fault("security-put-ignored", count=9)
    key, draft = new_key(), report_draft(jira)
    with pytest.raises(NotConfidential):
        await jira.tracker.ensure_issue(key, draft)
    jira.jira.settings(visible=[TEAM, MANAGEMENT])
    jira.jira.edit(1, security=MANAGEMENT)
    with pytest.raises(NotConfidential):
        await jira.tracker.ensure_issue(EffectKey(key.marker, jira.clock.now()), draft)
    assert CANARY not in jira.bodies()


async def test_a_level_that_is_lost_once_is_asked_for_again(jira: JiraBench) -> None:
    """A Jira that dropped the level in the create gets it by an update before it is told."""
    jira.jira.fault("security-ignored")
    await jira.tracker.ensure_issue(new_key(), report_draft(jira))
    first = jira.jira.requests("update-issue")[0]["body"]
    assert first["fields"] == {"security": {"name": "Team"}}
    assert first["update"] == {"labels": [{"add": "Security"}]}


async def test_a_report_whose_level_is_lost_while_it_is_told_is_taken_back(
    jira: JiraBench,
) -> None:
    """When telling opens the issue for good, the text goes back to the header."""
    jira.jira.fault("security-dropped-later")
    jira.jira.fault("security-put-ignored", count=9)
    with log_lines() as lines, pytest.raises(NotConfidential):
        await jira.tracker.ensure_issue(new_key(), report_draft(jira))
    (issue,) = await jira.issues()
    assert CANARY not in issue.text
    assert not issue.open
    assert alarms(lines) == ["tracker.not_confidential"]


@pytest.mark.parametrize(
    "settings",
    [
        {"levels": []},
        {"levels": [["10009", "Other"]]},
        {"screen": ["project", "issuetype", "summary", "description", "labels", "duedate"]},
    ],
    ids=["no scheme", "no such level", "not on the screen"],
)
async def test_a_level_that_cannot_be_set_is_named_with_the_mend(
    jira: JiraBench, settings: dict[str, Any]
) -> None:
    """Nothing is created; what has to be mended is said, and then the same call goes through."""
    jira.jira.settings(**settings)
    key, draft = new_key(), report_draft(jira, assignees=())
    with pytest.raises(PermanentFault) as told:
        await jira.tracker.ensure_issue(key, draft)
    assert told.value.setting == "trackers.t.security_level"
    assert "Set Issue Security" in told.value.mend
    assert await jira.issues() == []
    jira.jira.reset()
    await jira.tracker.ensure_issue(key, draft)
    assert len(await jira.issues()) == 1


async def test_a_level_that_hides_the_issue_from_us_makes_no_stream_of_issues(
    jira: JiraBench,
) -> None:
    """A level without the bot's account: one neutral issue, an alarm that names the level, a wait.

    The next tries know what was made, and once the account is a member the same issue is told.
    """
    jira.jira.settings(visible=[])
    key, draft = new_key(), report_draft(jira)
    attempted = None
    for _ in range(4):
        with pytest.raises(Deferral) as told:
            await jira.tracker.ensure_issue(EffectKey(key.marker, attempted), draft)
        attempted = jira.clock.now()
        jira.clock.advance(PATIENCE)
    assert (told.value.code, told.value.alarm) == ("tracker-hides-issue", True)
    assert CANARY not in jira.bodies()
    jira.jira.settings(visible=[TEAM])
    await jira.tracker.ensure_issue(EffectKey(key.marker, attempted), draft)
    (issue,) = await jira.issues()
    assert CANARY in issue.text


# ── Moved issues ─────────────────────────────────────────────────────────────────────────────────


async def test_a_moved_issue_is_followed_by_its_id(both: JiraBench) -> None:
    """Key, project and address are new; the id, by which it is asked for, stays."""
    ref = await both.tracker.ensure_issue(new_key(), report_draft(both))
    both.jira.edit(1, move_to=ELSEWHERE, level=TEAM)
    state = await both.tracker.look(ref)
    assert (state.ref.id, state.ref.project, state.ref.number) == (ref.id, "APP", "APP-1")
    assert state.ref.url == f"{both.jira.url}/browse/APP-1"
    assert state.confidential
    assert (state.due, state.open) == (date(2026, 11, 27), True)
    await both.tracker.ensure_comment(ref, new_key(), comment_draft(both))
    assert CANARY in (await both.issues())[0].comments[0]


@pytest.mark.parametrize(
    "level", [None, OTHERS], ids=["without a level", "on a level of that name"]
)
async def test_an_issue_that_was_moved_into_the_open_is_told_nothing_more(
    jira: JiraBench, level: str | None
) -> None:
    """Another project's level may include anybody, whatever its name: no mail is shown there."""
    ref = await jira.tracker.ensure_issue(new_key(), report_draft(jira, a_message()))
    jira.jira.edit(1, move_to=ELSEWHERE, level=level)
    assert not (await jira.tracker.look(ref)).confidential
    with log_lines() as lines, pytest.raises(NotConfidential):
        await jira.tracker.ensure_comment(ref, new_key(), comment_draft(jira))
    assert alarms(lines) == ["tracker.not_confidential"]
    assert CANARY not in jira.bodies()


# ── Exactly one ──────────────────────────────────────────────────────────────────────────────────


async def lost_create(bench: JiraBench) -> EffectKey:
    """Return the key of an attempt whose issue was made, and whose answer was lost."""
    bench.jira.fault("drop-after", on="create-issue")
    key = new_key()
    with pytest.raises(OutcomeUnknown):
        await bench.tracker.ensure_issue(key, report_draft(bench))
    return EffectKey(key.marker, attempted_at=bench.clock.now())


async def test_the_marker_is_set_in_the_very_create(jira: JiraBench) -> None:
    """There is no time in which our issue is there without its marker."""
    key = new_key()
    await jira.tracker.ensure_issue(key, report_draft(jira))
    (create,) = jira.jira.requests("create-issue")
    assert create["body"]["properties"] == [
        {"key": "secbridge", "value": {"marker": key.marker, "project": "SEC"}}
    ]


@pytest.mark.parametrize("before", [0, 3])
async def test_an_issue_that_the_index_does_not_know_is_found_by_its_key(
    both: JiraBench, before: int
) -> None:
    """However far the search is behind, the issue of a lost answer is found, and made once."""
    for _ in range(before):
        both.jira.edit(0, open={})
    both.jira.settings(index_lag=True)
    key = await lost_create(both)
    ref = await both.tracker.ensure_issue(key, report_draft(both))
    assert ref.number == f"SEC-{before + 1}"
    assert len(await both.issues()) == before + 1


async def test_keys_that_show_nothing_are_passed_over(jira: JiraBench) -> None:
    """Issues that the bot does not see look like the end, and are none, up to a bound."""
    jira.jira.settings(index_lag=True)
    for _ in range(RUN - 1):
        jira.jira.edit(0, open={"security": MANAGEMENT})
    key = await lost_create(jira)
    for _ in range(3):
        jira.jira.edit(0, open={})
    ref = await jira.tracker.ensure_issue(key, report_draft(jira))
    assert ref.number == f"SEC-{RUN}"
    assert len(await jira.issues()) == RUN + 3


async def test_looking_for_a_lost_issue_takes_few_requests(jira: JiraBench) -> None:
    """Two searches and ``RUN`` looks past the end, when the index knows what there is."""
    for _ in range(60):
        jira.jira.edit(0, open={})
    key = await lost_create(jira)
    before = len(jira.jira.requests())
    await jira.tracker.ensure_issue(key, report_draft(jira, a_message()))
    asked = [one["kind"] for one in jira.jira.requests()[before:]]
    assert asked == [
        "user",
        *["list-issues"] * 3,  # two pages of what was made since, one of what was before
        *["read-issue"] * RUN,
        "read-issue", "update-issue", "read-issue",
    ]  # fmt: skip


async def test_looking_where_nothing_was_made_ends(jira: JiraBench) -> None:
    """In an empty project an attempt that left nothing is made good after the wait."""
    key = new_key(attempted_at=jira.clock.now())
    jira.clock.advance(PATIENCE)
    await jira.tracker.ensure_issue(key, report_draft(jira))
    assert len(await jira.issues()) == 1


async def test_a_told_issue_whose_text_people_changed_is_not_told_again(both: JiraBench) -> None:
    """Our last line is what counts, wherever people write."""
    key, draft = new_key(), report_draft(both)
    await both.tracker.ensure_issue(key, draft)
    text = (await both.issues())[0].text
    if both.deployment == "cloud":
        document = json.loads(text)
        note = {"type": "paragraph", "content": [{"type": "text", "text": "Our notes."}]}
        both.jira.edit(1, description=document | {"content": [note, *document["content"]]})
    else:
        both.jira.edit(1, description=f"Our notes.\n\n{text}")
    await both.tracker.ensure_issue(EffectKey(key.marker, both.clock.now()), draft)
    assert "Our notes." in (await both.issues())[0].text


# ── People and fields ────────────────────────────────────────────────────────────────────────────


async def test_people_are_named_as_the_deployment_names_them(both: JiraBench) -> None:
    """By account id in the cloud, by user name in a Data Center."""
    await both.tracker.ensure_issue(new_key(), report_draft(both))
    (create,) = both.jira.requests("create-issue")
    name = "accountId" if both.deployment == "cloud" else "name"
    assert create["body"]["fields"]["assignee"] == {name: "alex"}


async def test_who_cannot_be_assigned_is_named_in_the_issue(jira: JiraBench) -> None:
    """Nobody is forgotten: the issue says who should have it, and an alarm says so too."""
    draft = report_draft(jira, assignees=("outsider", "alex"))
    with log_lines() as lines:
        await jira.tracker.ensure_issue(new_key(), draft)
    (issue,) = await jira.issues()
    assert issue.assignees == ("alex",)
    assert "Not assigned, though the alias asks for it: outsider." in issue.text
    assert alarms(lines) == ["tracker.not_assigned"]


async def test_a_second_assignee_is_named_without_an_alarm(jira: JiraBench) -> None:
    """Jira assigns to one person; the others are named in the issue."""
    with log_lines() as lines:
        await jira.tracker.ensure_issue(new_key(), report_draft(jira, assignees=("kim", "alex")))
    (issue,) = await jira.issues()
    assert issue.assignees == ("kim",)
    assert "Not assigned, though the alias asks for it: alex." in issue.text
    assert alarms(lines) == []


async def test_without_any_known_assignee_the_fallback_steps_in(server: FakeJira) -> None:
    """A configured fallback gets what would belong to nobody."""
    server.reset()
    bench = JiraBench(server, fallback_assignee="kim")
    await bench.tracker.ensure_issue(new_key(), report_draft(bench, assignees=("outsider",)))
    await bench.tracker.aclose()
    (issue,) = await bench.issues()
    assert issue.assignees == ("kim",)


async def test_the_priority_is_set(server: FakeJira) -> None:
    """By its name, as Jira writes it."""
    server.reset()
    bench = JiraBench(server, priority="High")
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    assert server.issues()[0]["fields"]["priority"] == {"name": "High"}


@pytest.mark.parametrize("missing", ["priority", "duedate", "assignee"])
async def test_a_field_that_is_not_on_the_screen_is_noticed_and_the_issue_filed(
    server: FakeJira, missing: str
) -> None:
    """A report is not held up by a priority or a date: issue and log say what it lacks."""
    server.reset()
    fields = ("project", "issuetype", "summary", "description", "labels", "security")
    screen = {*fields, "priority", "duedate", "assignee"} - {missing}
    server.settings(screen=sorted(screen))
    bench = JiraBench(server, priority="High")
    with log_lines() as lines:
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    (issue,) = await bench.issues()
    said = {
        "priority": "Its priority is High, which Jira did not take.",
        "duedate": "Due on 2026-11-27, which Jira did not take.",
        "assignee": "Not assigned, though the alias asks for it: alex.",
    }
    assert said[missing] in issue.text
    told = {line["event"] for line in lines} & {"tracker.not_as_asked", "tracker.not_assigned"}
    assert len(told) == 1
    assert CANARY in issue.text


async def test_a_label_with_a_blank_is_refused_before_anything_is_sent(jira: JiraBench) -> None:
    """Jira knows no such labels."""
    with pytest.raises(PermanentFault) as told:
        await jira.tracker.ensure_issue(new_key(), report_draft(jira, labels=("a b",)))
    assert told.value.setting == "alias.labels"
    assert jira.jira.requests("create-issue") == []


@pytest.mark.parametrize(
    ("given", "setting"),
    [({"issue_type": "Vulnerability"}, "trackers.t.issue_type")],
)
async def test_a_value_that_jira_refuses_is_named_by_its_setting(
    server: FakeJira, given: dict[str, Any], setting: str
) -> None:
    """The field that Jira names tells which setting has to be mended."""
    server.reset()
    bench = JiraBench(server, **given)
    with pytest.raises(PermanentFault) as told:
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    assert told.value.setting == setting


async def test_taking_all_people_away_leaves_nobody(server: FakeJira) -> None:
    """The fallback steps in for people who are unknown, and not where none are wanted."""
    server.reset()
    bench = JiraBench(server, fallback_assignee="kim")
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.update(ref, IssueChange(assignees=()))
    await bench.tracker.aclose()
    assert (await bench.issues())[0].assignees == ()


# ── Closing and reopening ────────────────────────────────────────────────────────────────────────


async def test_closing_is_a_transition_to_a_status_that_is_done(jira: JiraBench) -> None:
    """Any transition will do; and closing what is closed changes nothing."""
    ref = await jira.tracker.ensure_issue(new_key(), report_draft(jira))
    for _ in range(2):
        await jira.tracker.update(ref, IssueChange(open=False))
    assert [one["body"] for one in jira.jira.requests("transition")] == [
        {"transition": {"id": "13"}}
    ]
    await jira.tracker.update(ref, IssueChange(open=True))
    assert (await jira.tracker.look(ref)).open


async def test_a_configured_transition_is_taken(server: FakeJira) -> None:
    """Where a workflow has several ways, the operator names one."""
    server.reset()
    bench = JiraBench(server, reopened_transition="go to in progress")
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.update(ref, IssueChange(open=False))
    await bench.tracker.update(ref, IssueChange(open=True))
    await bench.tracker.aclose()
    assert server.issues()[0]["fields"]["status"]["name"] == "In Progress"


async def test_a_workflow_that_cannot_close_says_so(jira: JiraBench) -> None:
    """The setting and the mend are named; nothing else of the change is lost."""
    jira.jira.settings(transitions=["In Progress"])
    ref = await jira.tracker.ensure_issue(new_key(), report_draft(jira))
    with pytest.raises(PermanentFault) as told:
        await jira.tracker.update(ref, IssueChange(add_labels=("triaged",), open=False))
    assert told.value.setting == "trackers.t.closed_transition"
    assert (await jira.issues())[0].labels == ("Security", "triaged")


async def test_an_issue_that_cannot_be_reopened_is_told_and_says_so(jira: JiraBench) -> None:
    """A closed issue would be overlooked, so the issue says it, and an alarm does."""
    jira.keep_no_secret()
    key, draft = new_key(), report_draft(jira)
    with pytest.raises(NotConfidential):
        await jira.tracker.ensure_issue(key, draft)
    jira.keep_secrets_again()
    jira.jira.settings(transitions=["Done"])
    with log_lines() as lines:
        await jira.tracker.ensure_issue(EffectKey(key.marker, jira.clock.now()), draft)
    (issue,) = await jira.issues()
    assert "it is closed, and nothing here can reopen it" in issue.text
    assert CANARY in issue.text
    assert alarms(lines) == ["tracker.no_transition"]


# ── Files ────────────────────────────────────────────────────────────────────────────────────────


async def test_files_are_uploaded_once_under_neutral_names(both: JiraBench) -> None:
    """They follow the issue's level; a second try puts nothing there twice."""
    both.jira.fault("drop-before", on="update-issue")
    key, draft = new_key(), report_draft(both)
    await persist(both, key.marker, draft)
    (issue,) = both.jira.issues()
    assert [(one["name"], one["content"]) for one in issue["files"]] == [
        ("SB-2026-0001-1.bin", CANARY)
    ]
    assert "Files beside this issue: SB\\-2026" not in (await both.issues())[0].text
    assert "Files beside this issue: SB-2026-0001-1.bin." in (await both.issues())[0].text


async def test_the_files_of_a_comment_are_put_beside_the_issue(jira: JiraBench) -> None:
    """Their names tell the delivery, so that two mails' files are not taken for one."""
    ref = await jira.tracker.ensure_issue(new_key(), report_draft(jira))
    await persist_comment(jira, ref, new_key().marker, comment_draft(jira))
    (issue,) = jira.jira.issues()
    names = [one["name"] for one in issue["files"]]
    assert names == ["SB-2026-0001-1.bin", "SB-2026-0001-D2-1.bin"]


@pytest.mark.parametrize("policy", ["withhold", "sealed"])
async def test_files_that_are_not_to_be_there_are_named_with_the_command(
    server: FakeJira, policy: str
) -> None:
    """Withheld by policy, or because nobody has a key to seal them to."""
    server.reset()
    bench = JiraBench(server, attachments=policy)
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    assert server.issues()[0]["files"] == []
    assert "An operator gets them with: secbridge delivery" in (await bench.issues())[0].text


async def test_sealed_files_open_for_a_member(
    server: FakeJira, role_ring: Ring, keys: Keys
) -> None:
    """What Jira holds is ciphertext under a neutral name; the member's own gpg opens it."""
    role_ring.take(keys.stranger_cert)
    openpgp = GnuPG(role_ring.home)
    team = TeamSealer(openpgp, (keys.role_fpr,), (keys.stranger_fpr,))
    server.reset()
    bench = JiraBench(server, attachments="sealed", team=team)
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    await openpgp.aclose()
    (file,) = server.issues()[0]["files"]
    assert file["name"] == "SB-2026-0001-1.bin.pgp"
    assert CANARY not in file["content"]
    assert keys.stranger.decrypt(file["content"].encode("latin-1")) == CANARY.encode()


async def test_a_file_that_is_too_large_keeps_nobody_from_the_report(jira: JiraBench) -> None:
    """The issue is told, and says why the file is not there and how an operator gets it."""
    jira.jira.settings(attachment_limit=4)
    await jira.tracker.ensure_issue(new_key(), report_draft(jira))
    (issue,) = await jira.issues()
    assert CANARY in issue.text
    assert "Files are not here" in issue.text
    assert "secbridge delivery raw" in issue.text
    assert [] == jira.jira.issues()[0]["files"]


async def test_the_content_of_files_is_not_fetched_from_elsewhere(jira: JiraBench) -> None:
    """The cloud points to another host for it; nobody follows, and the token stays here."""
    with pytest.raises(PermanentFault) as told:
        await jira.desk.door.get("read file", "attachment/content/1")
    assert told.value.code == "tracker-redirects"
    assert jira.jira.elsewhere() == []


# ── Comments ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "visibility"),
    [
        ({"comment_role": "Developers"}, {"type": "role", "value": "Developers"}),
        ({"comment_group": "responders"}, {"type": "group", "value": "responders"}),
    ],
    ids=["role", "group"],
)
async def test_on_an_opened_issue_a_comment_is_proven_restricted_before_it_holds_a_word(
    server: FakeJira, given: dict[str, Any], visibility: dict[str, str]
) -> None:
    """Created empty, read back, told; the update names the restriction again, to keep it."""
    server.reset()
    bench = JiraBench(server, **given)
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench, a_message()))
    server.edit(1, security=None)
    key, draft = new_key(), comment_draft(bench, a_message(text=CANARY))
    await bench.tracker.ensure_comment(ref, key, draft)
    await bench.tracker.aclose()
    (comment,) = server.issues()[0]["comments"]
    assert comment["visibility"] == visibility
    assert bench.dialect.received(comment["body"]) == bench.told_comment(key, draft)
    (create,) = server.requests("create-note")
    assert CANARY not in repr(create)


async def test_a_comment_whose_restriction_is_dropped_never_holds_a_word(
    server: FakeJira,
) -> None:
    """On an opened issue it stays a neutral line, and it alarms."""
    server.reset()
    bench = JiraBench(server, comment_role="Developers")
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench, a_message()))
    server.edit(1, security=None)
    server.fault("visibility-ignored", count=9)
    with log_lines() as lines, pytest.raises(NotConfidential):
        await bench.tracker.ensure_comment(ref, new_key(), comment_draft(bench))
    await bench.tracker.aclose()
    assert CANARY not in bench.bodies()
    assert alarms(lines) == ["tracker.not_confidential"]


async def test_without_a_restriction_an_opened_issue_gets_no_comment(jira: JiraBench) -> None:
    """Jira's own comments follow the issue, so there is nothing that could be proven."""
    ref = await jira.tracker.ensure_issue(new_key(), report_draft(jira, a_message()))
    jira.jira.edit(1, security=None)
    with pytest.raises(NotConfidential):
        await jira.tracker.ensure_comment(ref, new_key(), comment_draft(jira))
    assert CANARY not in jira.bodies()


async def test_a_role_that_is_not_there_is_named_by_its_setting(server: FakeJira) -> None:
    """The comment waits until the role is mended."""
    server.reset()
    bench = JiraBench(server, comment_role="Nobody")
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    with pytest.raises(PermanentFault) as told:
        await bench.tracker.ensure_comment(ref, new_key(), comment_draft(bench))
    await bench.tracker.aclose()
    assert told.value.setting == "trackers.t.comment_role"


@pytest.mark.parametrize("deployment", ["cloud", "data-center"])
async def test_a_service_desk_gets_internal_comments_only(
    server: FakeJira, deployment: str
) -> None:
    """Even on a secret issue a comment is seen to be internal before it holds a word."""
    server.reset()
    server.settings(project_type="service_desk")
    bench = JiraBench(server, deployment=deployment, service_desk=True)
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    assert server.issues()[0]["files"] == []  # whether customers see them is not known
    key, draft = new_key(), comment_draft(bench, a_message(text=CANARY))
    first = await bench.tracker.ensure_comment(ref, key, draft)
    again = EffectKey(key.marker, attempted_at=bench.clock.now())
    assert first == await bench.tracker.ensure_comment(ref, again, draft)
    await bench.tracker.aclose()
    (comment,) = server.issues()[0]["comments"]
    assert not answers.is_public(comment)
    assert CANARY in repr(comment["body"])
    kinds = [one["kind"] for one in server.requests() if one["kind"].endswith("-note")]
    assert kinds[:4] == ["create-note", "read-note", "update-note", "read-note"]


@pytest.mark.parametrize("fault", ["500-before", "drop-before", "403"])
@pytest.mark.parametrize("on", ["read-note", "update-note"])
async def test_a_comment_of_a_service_desk_that_fails_half_way_is_there_once(
    server: FakeJira, on: str, fault: str
) -> None:
    """Once it was made it is looked for, whatever fails behind that."""
    server.reset()
    server.settings(project_type="service_desk")
    bench = JiraBench(server, service_desk=True)
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    server.fault(fault, on=on)
    await persist_comment(
        bench, ref, new_key().marker, comment_draft(bench, a_message(text=CANARY))
    )
    await bench.tracker.aclose()
    (comment,) = server.issues()[0]["comments"]
    assert CANARY in repr(comment["body"])


@pytest.mark.parametrize("deployment", ["cloud", "data-center"])
async def test_a_comment_that_customers_would_see_never_holds_a_word(
    server: FakeJira, deployment: str
) -> None:
    """A service desk that makes it public in spite of us is told nothing, at any try."""
    server.reset()
    server.settings(project_type="service_desk")
    server.fault("jsd-public", count=9)
    bench = JiraBench(server, deployment=deployment, service_desk=True)
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench, a_message()))
    key, draft = new_key(), comment_draft(bench)
    for attempted in (None, bench.clock.now()):
        with log_lines() as lines, pytest.raises(NotConfidential):
            await bench.tracker.ensure_comment(ref, EffectKey(key.marker, attempted), draft)
    await bench.tracker.aclose()
    assert CANARY not in bench.bodies()
    assert alarms(lines) == ["tracker.not_confidential"]
    assert len(server.issues()[0]["comments"]) == 1


# ── Links ────────────────────────────────────────────────────────────────────────────────────────


async def test_two_issues_are_linked_once(both: JiraBench) -> None:
    """From either end, however often one asks."""
    one = await both.tracker.ensure_issue(new_key(), report_draft(both))
    other = await both.tracker.ensure_issue(new_key(), report_draft(both))
    assert await both.tracker.link(one, other)
    assert await both.tracker.link(one, other)
    assert await both.tracker.link(other, one)
    assert len(both.jira.issues()[0]["links"]) == 1


async def test_without_the_type_of_link_there_is_none(jira: JiraBench) -> None:
    """A Jira that knows no such link says so, and nothing is sent."""
    jira.jira.settings(link_types=["Blocks"])
    one = await jira.tracker.ensure_issue(new_key(), report_draft(jira))
    assert not await jira.tracker.link(one, one)
    assert jira.jira.requests("create-link") == []


# ── Logging in ───────────────────────────────────────────────────────────────────────────────────


async def test_making_a_tracker_asks_nothing_of_jira(jira: JiraBench) -> None:
    """The client is made in a thread with the first request, and does not introduce itself."""
    assert jira.jira.requests() == []
    await jira.tracker.ensure_issue(new_key(), report_draft(jira))
    assert "server" not in {one["kind"] for one in jira.jira.requests()}


@pytest.mark.parametrize(
    ("fault", "code"),
    [("captcha", "tracker-captcha"), ("logged-out", "tracker-token-refused")],
)
async def test_a_login_that_jira_refuses_is_told_as_such(
    both: JiraBench, fault: str, code: str
) -> None:
    """A captcha comes as 403, a stranger gets 404: the header says what it is."""
    both.jira.fault(fault)
    with pytest.raises(PermanentFault) as told:
        await both.tracker.ensure_issue(new_key(), report_draft(both))
    assert told.value.code == code
    assert told.value.setting == "trackers.t.token_credential"


async def test_a_mended_token_is_taken_without_a_restart(both: JiraBench) -> None:
    """After a refusal the secret is read again, so a delivery that waits drains by itself."""
    good, both.token = both.token, "expired"
    with pytest.raises(PermanentFault) as told:
        await both.tracker.ensure_issue(new_key(), report_draft(both))
    assert told.value.code == "tracker-token-refused"
    both.token = good
    await both.tracker.ensure_issue(new_key(), report_draft(both))
    assert len(await both.issues()) == 1


@pytest.mark.parametrize("fault", ["307", "302"])
@pytest.mark.parametrize("on", ["create-issue", "read-issue", "attach"])
async def test_a_redirect_gets_neither_token_nor_report(
    jira: JiraBench, fault: str, on: str
) -> None:
    """No redirect is followed, whatever the request: the other host hears nothing."""
    jira.jira.fault(fault, on=on)
    await persist(jira, new_key().marker, report_draft(jira))
    assert jira.jira.elsewhere() == []
    assert len(await jira.issues()) == 1


async def test_the_library_writes_no_file_about_a_failure(
    jira: JiraBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``PYJIRA_LOG_TO_TEMPFILE`` its exceptions write what was sent to /tmp; none is asked."""
    monkeypatch.setenv("PYJIRA_LOG_TO_TEMPFILE", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for fault in ("400", "403", "500-after", "html-200", "junk-201-after"):
        jira.jira.fault(fault, on="update-issue")
        with suppress(Deferral):
            await jira.tracker.ensure_issue(new_key(), report_draft(jira))
    assert names_in(tmp_path) == []


def names_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return [path.name for path in folder.iterdir()]


async def test_a_wait_of_jira_is_ours(jira: JiraBench) -> None:
    """503 with a time to wait is sent once, and the time is handed up."""
    jira.jira.fault("503-before", on="read-issue", retry_after="90")
    with pytest.raises(OutcomeUnknown) as told:
        await jira.tracker.ensure_issue(new_key(), report_draft(jira))
    assert told.value.retry_after == timedelta(seconds=90)

"""What is special about GitLab?  Its people, its commands, its silence about what it drops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.support.bench_gitlab import GitLabBench
from tests.support.fake_gitlab import FakeGitLab
from tests.support.fake_gitlab_spec import violations
from tests.support.listening import server_context
from tests.support.messages import a_message
from tests.support.ports import reserved_port
from tests.support.trackers import (
    CANARY,
    alarms,
    comment_draft,
    log_lines,
    new_key,
    persist,
    report_draft,
)

from secbridge.errors import (
    ConfigError,
    NotConfidential,
    OutcomeUnknown,
    PermanentFault,
    TransientFault,
)
from secbridge.model.issue import IssueChange
from secbridge.model.plaintext import Secret
from secbridge.ports import EffectKey
from secbridge.rules.drafting import markdown
from secbridge.trackers.gitlab import GitLabSettings

# ── The fake answers as GitLab does ──────────────────────────────────────────────────────────────


def test_an_answer_that_gitlab_would_not_give_is_seen(shared: Path) -> None:
    """What the fake says is held against GitLab's own schemas, so that it cannot drift away."""
    if not (shared / "specs" / "gitlab" / "schemas").is_dir():
        pytest.skip("no GitLab schemas")
    issue = {"id": 1, "iid": "one"}
    assert any("'one' is not of type" in one for one in violations("read-issue", {}, 200, issue))
    assert violations("create-note", {}, 202, {"commands_changes": {}, "summary": []}) == []


def test_a_parameter_that_gitlab_does_not_know_is_seen() -> None:
    """GitLab ignores what it does not know, so a slip of the pen would go unnoticed."""
    assert ["create-note: no parameter interal"] == violations(
        "create-note", {"body": "x", "interal": True}, 400, {}
    )


# ── Nothing acts ─────────────────────────────────────────────────────────────────────────────────

HOSTILE = """\
/confidential
/close
/unlabel ~Security
/assign @kim
/add_email mallory@evil.example
```
/confidential
````
~~~
@alex @all #1 !2 https://evil.example ![x](https://evil.example/x.png)
</details>

/confidential"""


async def test_no_command_in_a_mail_is_executed(gitlab: GitLabBench) -> None:
    """A GitLab that executes what it finds finds nothing, in issue and note alike."""
    message = a_message(text=f"{HOSTILE}\n\n> {HOSTILE}", subject=HOSTILE, authors=("/close",))
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab, message))
    await gitlab.tracker.ensure_comment(ref, new_key(), comment_draft(gitlab, message))
    (issue,) = await gitlab.issues()
    assert gitlab.gitlab.events() == []
    assert issue.confidential
    assert issue.open
    assert (issue.labels, issue.assignees) == (("Security",), ("alex",))


async def test_the_fake_would_have_executed_them(gitlab: GitLabBench) -> None:
    """The same words without a fence do act, so the test before this one means something."""
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    await gitlab.desk.tell(ref, HOSTILE, report_draft(gitlab))
    (issue,) = await gitlab.issues()
    kinds = {event["kind"] for event in gitlab.gitlab.events()}
    assert kinds == {"quick-action", "alive"}
    assert not issue.open
    assert "Security" not in issue.labels


# ── Prove, then tell ─────────────────────────────────────────────────────────────────────────────


async def test_an_issue_that_may_not_be_made_secret_never_gets_a_word(
    gitlab: GitLabBench,
) -> None:
    """Whether the second request is ignored or refused: nothing told, closed, alarmed."""
    gitlab.gitlab.fault("confidential-ignored")
    gitlab.gitlab.fault("confidential-put-forbidden", count=9)
    with log_lines() as lines, pytest.raises(NotConfidential):
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert (issue.confidential, issue.open) == (False, False)
    assert CANARY not in gitlab.bodies()
    assert alarms(lines) == ["tracker.not_confidential"]


async def test_a_secret_that_is_had_at_the_second_request_is_good(gitlab: GitLabBench) -> None:
    """A tracker that ignored ``confidential`` once is asked once more before anything is told."""
    gitlab.gitlab.fault("confidential-ignored")
    await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert issue.confidential
    told = [one["body"] for one in gitlab.gitlab.requests("update-issue")]
    assert told[:1] == [{"confidential": True, "add_labels": "Security"}]


async def test_a_dropped_label_is_asked_for_again(gitlab: GitLabBench) -> None:
    """Labels that the tracker dropped silently are noticed and added before the report is told."""
    gitlab.gitlab.fault("labels-dropped")
    await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert issue.labels == ("Security",)


async def test_an_issue_that_cannot_be_labelled_never_gets_a_word(gitlab: GitLabBench) -> None:
    """The label belongs to the proof: people find security reports by it."""
    gitlab.gitlab.fault("labels-dropped")
    gitlab.gitlab.fault("labels-put-dropped", count=9)
    with log_lines() as lines, pytest.raises(NotConfidential):
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert not issue.open
    assert CANARY not in gitlab.bodies()
    assert lines[0]["missing"] == ["Security"]


async def test_an_issue_that_opens_while_it_is_told_is_made_secret_again(
    gitlab: GitLabBench,
) -> None:
    """When telling itself makes the issue public, that is seen at once and undone."""
    gitlab.gitlab.fault("opens-to-public")
    await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert issue.confidential
    assert CANARY in issue.text


async def test_a_report_that_cannot_be_kept_secret_any_more_is_taken_back(
    gitlab: GitLabBench,
) -> None:
    """When telling makes the issue public for good, the text goes back to the header."""
    gitlab.gitlab.fault("opens-to-public")
    gitlab.gitlab.fault("confidential-put-ignored", count=9)
    with log_lines() as lines, pytest.raises(NotConfidential):
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert CANARY not in issue.text
    assert not issue.open
    assert alarms(lines) == ["tracker.not_confidential"]


async def test_a_text_that_the_tracker_changed_raises_an_alarm(gitlab: GitLabBench) -> None:
    """What was told is compared with what is there: a difference means that something acted."""
    gitlab.gitlab.fault("text-mangled")
    with log_lines() as lines:
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    assert alarms(lines) == ["tracker.interpreted"]


async def test_a_comment_on_an_issue_that_was_opened_is_proven_internal_first(
    gitlab: GitLabBench,
) -> None:
    """On an issue that the team made public a mail becomes an internal note, proven, then told."""
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    gitlab.gitlab.edit(1, confidential=False)
    key, draft = new_key(), comment_draft(gitlab, a_message(text=CANARY))
    await gitlab.tracker.ensure_comment(ref, key, draft)
    (note,) = gitlab.gitlab.notes(1)
    assert note["internal"]
    assert gitlab.told_comment(key, draft) == note["body"]
    (create,) = gitlab.gitlab.requests("create-note")
    assert CANARY not in repr(create)


async def test_a_comment_that_would_be_public_is_not_written(gitlab: GitLabBench) -> None:
    """When an opened issue drops the internal flag, the note never gets a word, and it alarms."""
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab, a_message()))
    gitlab.gitlab.edit(1, confidential=False)
    gitlab.gitlab.fault("internal-ignored", count=9)
    with log_lines() as lines, pytest.raises(NotConfidential):
        await gitlab.tracker.ensure_comment(ref, new_key(), comment_draft(gitlab))
    assert CANARY not in gitlab.bodies()
    assert alarms(lines) == ["tracker.not_confidential"]


# ── People ───────────────────────────────────────────────────────────────────────────────────────


async def test_an_unknown_assignee_is_noted_and_alarmed_and_the_issue_is_filed(
    gitlab: GitLabBench,
) -> None:
    """Nobody is forgotten: the issue says who should have it, and an alarm says so too."""
    draft = report_draft(gitlab, assignees=("alex", "nobody-here"))
    with log_lines() as lines:
        await gitlab.tracker.ensure_issue(new_key(), draft)
    (issue,) = await gitlab.issues()
    assert issue.assignees == ("alex",)
    assert "Not assigned, though the alias asks for it: `nobody-here`." in issue.text
    assert alarms(lines) == ["tracker.not_assigned"]


async def test_without_any_known_assignee_the_fallback_steps_in(
    gitlab_server: FakeGitLab,
) -> None:
    """A configured fallback gets what would belong to nobody."""
    gitlab_server.reset()
    bench = GitLabBench(gitlab_server, fallback_assignee="kim")
    await bench.tracker.ensure_issue(new_key(), report_draft(bench, assignees=("nobody-here",)))
    await bench.tracker.aclose()
    (issue,) = await bench.issues()
    assert issue.assignees == ("kim",)
    assert "`nobody-here`" in issue.text


async def test_an_assignee_whom_gitlab_drops_is_noted(gitlab: GitLabBench) -> None:
    """Who is no member is dropped by GitLab without a word; we say it."""
    with log_lines() as lines:
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab, assignees=("outsider",)))
    (issue,) = await gitlab.issues()
    assert issue.assignees == ()
    assert "`outsider`" in issue.text
    assert alarms(lines) == ["tracker.not_assigned"]


async def test_where_one_assignee_is_the_most_the_others_are_noted(gitlab: GitLabBench) -> None:
    """A GitLab without several assignees takes the first; the second is named in the issue."""
    gitlab.gitlab.settings(several_assignees=False)
    with log_lines() as lines:
        draft = report_draft(gitlab, assignees=("alex", "kim"))
        await gitlab.tracker.ensure_issue(new_key(), draft)
    (issue,) = await gitlab.issues()
    assert issue.assignees == ("alex",)
    assert "Not assigned, though the alias asks for it: `kim`." in issue.text
    assert alarms(lines) == []


async def test_an_account_is_looked_up_once(gitlab: GitLabBench) -> None:
    """Ids of accounts are remembered; the at sign and the case of a name make no difference."""
    for name in ("alex", "@Alex"):
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab, assignees=(name,)))
    first, second = await gitlab.issues()
    assert (first.assignees, second.assignees) == (("alex",), ("alex",))
    assert len(gitlab.gitlab.requests("users")) == 1


# ── Reconciliation ───────────────────────────────────────────────────────────────────────────────


async def test_an_issue_is_found_among_many(gitlab: GitLabBench) -> None:
    """The list is read page by page, and never by a search index."""
    key, draft = new_key(), report_draft(gitlab)
    await gitlab.tracker.ensure_issue(key, draft)
    for _ in range(60):
        await gitlab.desk.create_issue(new_key(), draft)
    found = await gitlab.tracker.ensure_issue(EffectKey(key.marker, gitlab.clock.now()), draft)
    assert found.number == "1"
    asked = [one["body"] for one in gitlab.gitlab.requests("list-issues")]
    assert [one["page"] for one in asked] == ["1", "2"]
    assert {name for one in asked for name in one} == {
        "author_id", "created_after", "scope", "state", "order_by", "sort", "page", "per_page",
    }  # fmt: skip


async def test_an_issue_of_long_ago_is_found(gitlab: GitLabBench) -> None:
    """A delivery that waited for weeks finds the issue of its first attempt."""
    key, draft = new_key(), report_draft(gitlab)
    first = await gitlab.tracker.ensure_issue(key, draft)
    gitlab.clock.advance(timedelta(days=30))
    again = await gitlab.tracker.ensure_issue(EffectKey(key.marker, gitlab.clock.now()), draft)
    assert again == first
    assert len(await gitlab.issues()) == 1


async def test_what_people_wrote_into_the_issue_stays(gitlab: GitLabBench) -> None:
    """A told issue is not told again, even when the team has changed its text since."""
    key, draft = new_key(), report_draft(gitlab)
    await gitlab.tracker.ensure_issue(key, draft)
    (issue,) = await gitlab.issues()
    gitlab.gitlab.edit(1, description=f"Our notes.\n\n{issue.text}")
    await gitlab.tracker.ensure_issue(EffectKey(key.marker, gitlab.clock.now()), draft)
    (issue,) = await gitlab.issues()
    assert issue.text.startswith("Our notes.")


async def test_a_note_whose_placeholder_was_written_is_told(gitlab: GitLabBench) -> None:
    """A crash between the two steps of a note leaves a placeholder, which is found and filled."""
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    gitlab.gitlab.edit(1, confidential=False)
    gitlab.gitlab.fault("drop-before", on="update-note")
    key, draft = new_key(), comment_draft(gitlab, a_message(text=CANARY))
    with pytest.raises(OutcomeUnknown):
        await gitlab.tracker.ensure_comment(ref, key, draft)
    (note,) = gitlab.gitlab.notes(1)
    assert markdown.is_untold_comment(note["body"])
    again = EffectKey(key.marker, gitlab.clock.now())
    await gitlab.tracker.ensure_comment(ref, again, draft)
    (note,) = gitlab.gitlab.notes(1)
    assert note["body"] == gitlab.told_comment(key, draft)


async def test_an_update_that_changes_nothing_asks_nothing(gitlab: GitLabBench) -> None:
    """An empty change is no request."""
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    before = len(gitlab.gitlab.requests())
    await gitlab.tracker.update(ref, IssueChange())
    assert len(gitlab.gitlab.requests()) == before


async def test_a_label_with_a_comma_is_refused_before_anything_is_sent(
    gitlab: GitLabBench,
) -> None:
    """GitLab would make two labels of it."""
    with pytest.raises(PermanentFault) as told:
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab, labels=("a,b",)))
    assert told.value.setting == "alias.labels"
    assert gitlab.gitlab.requests("create-issue") == []


# ── Types and severities ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def incidents(gitlab_server: FakeGitLab) -> AsyncIterator[GitLabBench]:
    """Return the adapter whose issues are incidents of high severity."""
    gitlab_server.reset()
    bench = GitLabBench(gitlab_server, issue_type="incident", severity="high")
    yield bench
    await bench.tracker.aclose()
    assert gitlab_server.violations() == []


async def test_an_incident_has_the_severity_of_the_settings(incidents: GitLabBench) -> None:
    """REST knows no severity, so it is set by GraphQL once the issue is proven."""
    key, draft = new_key(), report_draft(incidents, a_message())
    with log_lines() as lines:
        await incidents.tracker.ensure_issue(key, draft)
    (issue,) = incidents.gitlab.issues()
    assert (issue["issue_type"], issue["severity"]) == ("incident", "HIGH")
    assert incidents.told(key, draft) == issue["description"]
    assert [] == lines


@pytest.mark.parametrize(
    ("fault", "on", "missing"),
    [
        ("type-ignored", "", "issue type `incident`, severity `high`"),
        ("severity-ignored", "", "severity `high`"),
        ("403", "graphql", "severity `high`"),
        ("due-dropped", "", "due date `2026-11-27`"),
    ],
)
async def test_what_gitlab_drops_without_a_word_is_noted(
    incidents: GitLabBench, fault: str, on: str, missing: str
) -> None:
    """Type, severity and date are read back; the report is told all the same, with a note."""
    incidents.gitlab.fault(fault, on=on)
    with log_lines() as lines:
        await incidents.tracker.ensure_issue(new_key(), report_draft(incidents))
    (issue,) = await incidents.issues()
    assert f"did not take what the settings ask for: {missing}." in issue.text
    assert CANARY in issue.text
    assert "tracker.not_as_asked" in [line["event"] for line in lines]


async def test_a_severity_whose_answer_is_lost_is_set_by_the_next_try(
    incidents: GitLabBench,
) -> None:
    """Setting it twice is harmless, and the issue is one."""
    incidents.gitlab.fault("drop-after", on="graphql")
    await persist(incidents, new_key().marker, report_draft(incidents))
    (issue,) = incidents.gitlab.issues()
    assert issue["severity"] == "HIGH"


async def test_a_type_that_the_gitlab_does_not_have_waits_for_a_person(
    incidents: GitLabBench,
) -> None:
    """An issue of another type would not be what the team asked for."""
    incidents.gitlab.settings(issue_types=["issue"])
    with pytest.raises(PermanentFault) as told:
        await incidents.tracker.ensure_issue(new_key(), report_draft(incidents))
    assert "issue type" in told.value.mend


def test_a_severity_needs_incidents() -> None:
    """Other types have none, so the setting would be without effect."""
    with pytest.raises(ValidationError, match="issue_type"):
        GitLabSettings(url="https://gitlab.example.org", token_credential="t", severity="high")


# ── The way there ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["307", "302"])
@pytest.mark.parametrize("on", ["create-issue", "read-issue", "update-issue"])
async def test_a_redirect_gets_neither_token_nor_report(
    gitlab: GitLabBench, fault: str, on: str
) -> None:
    """No redirect is followed, whatever the request: the other host hears nothing."""
    gitlab.gitlab.fault(fault, on=on)
    await persist(gitlab, new_key().marker, report_draft(gitlab))
    assert gitlab.gitlab.elsewhere() == []
    assert len(await gitlab.issues()) == 1


async def test_the_token_goes_in_the_form_that_no_redirect_carries_on(
    gitlab: GitLabBench,
) -> None:
    """Clients strip ``Authorization`` before another host, and not GitLab's own header."""
    await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    assert gitlab.gitlab.state()["token_forms"] == ["bearer"]


async def test_where_nobody_listens_nothing_was_sent(gitlab: GitLabBench) -> None:
    """A refused connection is a passing fault, and the next try need not search or wait."""
    with reserved_port() as port:
        bench = GitLabBench(gitlab.gitlab, url=f"http://127.0.0.1:{port}")
        with pytest.raises(TransientFault) as told:
            await bench.desk.create_issue(new_key(), report_draft(bench, assignees=()))
        await bench.tracker.aclose()
    assert told.value.code == "tracker-unreachable"


async def test_a_certificate_that_nobody_vouches_for_is_refused(gitlab: GitLabBench) -> None:
    """The token is not sent to whoever answers; the setting and the mend are named."""

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    heard: list[bytes] = []
    listening = await asyncio.start_server(never, "127.0.0.1", 0, ssl=server_context())
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        bench = GitLabBench(gitlab.gitlab, url=f"https://localhost:{port}")
        with pytest.raises(PermanentFault) as told:
            await bench.desk.people.myself()
        await bench.tracker.aclose()
    assert told.value.code == "tracker-tls"
    assert told.value.setting == "trackers.t.ca_file"
    assert heard == []


async def test_a_mended_token_is_taken_without_a_restart(gitlab: GitLabBench) -> None:
    """After a refusal the secret is read again, so a delivery that waits drains by itself."""
    good, gitlab.token = gitlab.token, "glpat-expired"
    with pytest.raises(PermanentFault) as told:
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    assert told.value.code == "tracker-token-refused"
    gitlab.token = good
    await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    assert len(await gitlab.issues()) == 1


async def test_a_token_that_cannot_be_read_is_a_wait_with_an_alarm(gitlab: GitLabBench) -> None:
    """A missing credential is mended by a person; the delivery waits."""

    def missing() -> Secret:
        raise ConfigError("secbridge.toml", "trackers.t.token", "is missing", "name one")

    gitlab.read_token = missing
    with pytest.raises(PermanentFault) as told:
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    assert told.value.alarm
    assert told.value.code == "tracker-token-missing"


async def test_many_reports_at_once_are_many_issues(gitlab: GitLabBench) -> None:
    """The adapter works on several reports at a time, each with its own issue."""
    await asyncio.gather(
        *(gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab)) for _ in range(12))
    )
    assert len(await gitlab.issues()) == 12


async def test_a_wait_that_asks_for_too_long_is_bounded(gitlab: GitLabBench) -> None:
    """``Retry-After`` as a date, far away or nonsense, is honoured up to an hour or not at all."""
    far = (datetime.now(UTC) + timedelta(days=9)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    for given, expected in ((far, timedelta(hours=1)), ("soon", None), ("999999999999", None)):
        gitlab.gitlab.fault("429", on="create-issue", retry_after=given)
        with pytest.raises(TransientFault) as told:
            await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
        bounded = timedelta(hours=1) if given.isdigit() else expected
        assert told.value.retry_after == bounded

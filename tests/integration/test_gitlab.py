"""What is special about GitLab?  Its people, its rights, its uploads, its commands, its answers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.support.fake_gitlab import FakeGitLab
from tests.support.listening import server_context
from tests.support.messages import a_message
from tests.support.trackers import (
    CANARY,
    PATIENCE,
    GitLabBench,
    alarms,
    comment_draft,
    log_lines,
    new_key,
    persist,
    report_draft,
)

from secbridge.errors import ConfigError, OutcomeUnknown, PermanentFault, TransientFault
from secbridge.model.issue import IssueChange, Severity
from secbridge.model.plaintext import Secret
from secbridge.ports import EffectKey
from secbridge.rules.drafting import markdown


@pytest.fixture(scope="module")
def server() -> Iterator[FakeGitLab]:
    """Return the fake GitLab of this module."""
    with FakeGitLab.start() as gitlab:
        yield gitlab


@pytest.fixture
async def gitlab(server: FakeGitLab) -> AsyncIterator[GitLabBench]:
    """Return the adapter before an empty GitLab."""
    server.reset()
    bench = GitLabBench(server)
    yield bench
    await bench.tracker.aclose()


# ── The fake answers as GitLab does ──────────────────────────────────────────────────────────────


@pytest.fixture
def schemas(shared: Path) -> dict[str, Any]:
    """Return GitLab's own schemas of its answers."""
    folder = shared / "specs" / "gitlab" / "schemas"
    if not folder.is_dir():
        pytest.skip(f"no GitLab schemas at {folder}")
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


async def test_the_fake_answers_in_the_shape_of_gitlab(
    gitlab: GitLabBench, schemas: dict[str, Any]
) -> None:
    """Issues and notes of the fake are valid by the schemas of GitLab's own API tests."""
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    await gitlab.tracker.ensure_comment(ref, new_key(), comment_draft(gitlab))
    (issue,) = gitlab.gitlab.issues()
    (note,) = gitlab.gitlab.notes(1)
    jsonschema.validate(issue, schemas["issue"])
    jsonschema.validate(note, schemas["note"])
    jsonschema.validate({"commands_changes": {}, "summary": []}, schemas["note_commands_only"])


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


async def test_without_any_known_assignee_the_fallback_steps_in(server: FakeGitLab) -> None:
    """A configured fallback gets what would belong to nobody."""
    server.reset()
    bench = GitLabBench(server, fallback_assignee="kim")
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


# ── Files and long texts ─────────────────────────────────────────────────────────────────────────


async def test_files_are_not_uploaded_and_the_issue_says_where_they_are(
    gitlab: GitLabBench,
) -> None:
    """Uploads do not follow an issue's rights, so the operator's command is named instead."""
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    await gitlab.tracker.ensure_comment(ref, new_key(), comment_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert "Files are not uploaded" in issue.text
    assert "`secbridge delivery raw D1`" in issue.text
    assert "`secbridge delivery raw D2`" in issue.comments[0]


async def test_a_report_that_is_too_long_is_cut_and_names_the_command(gitlab: GitLabBench) -> None:
    """GitLab takes a megabyte; the rest is one command away."""
    draft = report_draft(gitlab, a_message(text="€uro " * 500_000))
    await gitlab.tracker.ensure_issue(new_key(), draft)
    (issue,) = await gitlab.issues()
    assert 900_000 < len(issue.text.encode()) <= 1_048_576
    assert "more characters do not fit" in issue.text


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


async def test_where_nobody_listens_nothing_was_sent(gitlab: GitLabBench) -> None:
    """A refused connection is a passing fault, and the next try need not search or wait."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
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
            await bench.desk.myself()
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


# ── check ────────────────────────────────────────────────────────────────────────────────────────


async def findings(bench: GitLabBench, severity: Severity) -> list[str]:
    """Return the texts of the findings of one severity."""
    return [one.text for one in await bench.tracker.check() if one.severity is severity]


@pytest.mark.parametrize(
    ("settings", "severity", "expected"),
    [
        ({"access_level": 10}, Severity.ERROR, "has not the role Reporter"),
        ({"access_level": 0}, Severity.ERROR, "has not the role Reporter"),
        ({"access_level": 40}, Severity.WARNING, "is Maintainer or Owner"),
        ({"access_level": 50}, Severity.WARNING, "is Maintainer or Owner"),
        ({"bot_is_admin": True}, Severity.WARNING, "administrator's"),
        ({"visibility": "public"}, Severity.WARNING, "The project is public"),
        ({"visibility": "internal"}, Severity.WARNING, "The project is internal"),
        ({"issues_enabled": False}, Severity.ERROR, "has no issues"),
        ({"archived": True}, Severity.ERROR, "is archived"),
        ({"scopes": ["read_api"]}, Severity.ERROR, "may not write"),
        ({"labels": []}, Severity.OK, "will make these labels: Security"),
        ({"members": [42]}, Severity.WARNING, "alex is no member"),
        ({"users": {"42": "secbridge-bot"}}, Severity.WARNING, "alex is not known"),
        ({"project": "other/project"}, Severity.ERROR, "knows no such project"),
        ({"token": "another"}, Severity.ERROR, "refuses the token"),
    ],
)
async def test_check_finds_what_is_wrong(
    gitlab: GitLabBench, settings: dict[str, Any], severity: Severity, expected: str
) -> None:
    """Each thing that would keep a report from being filed secretly is a finding with its mend."""
    gitlab.gitlab.settings(**settings)
    found = [one for one in await gitlab.tracker.check() if expected in one.text]
    assert [one.severity for one in found] == [severity]
    assert severity is Severity.OK or (found[0].mend and found[0].setting)


async def test_check_warns_before_the_token_expires(gitlab: GitLabBench) -> None:
    """Two weeks before the end, and not three months before it."""
    today = gitlab.clock.now().date()
    gitlab.gitlab.settings(expires_at=(today + timedelta(days=10)).isoformat())
    assert len(await findings(gitlab, Severity.WARNING)) == 1
    gitlab.gitlab.settings(expires_at=(today + timedelta(days=90)).isoformat())
    assert await findings(gitlab, Severity.WARNING) == []


@pytest.mark.parametrize("fault", ["500-before", "drop-before", "html-200", "429", "403"])
async def test_check_of_a_tracker_that_is_away_is_a_finding(
    gitlab: GitLabBench, fault: str
) -> None:
    """A failure is told as a finding and raises nothing."""
    gitlab.gitlab.fault(fault, on="project")
    assert len(await findings(gitlab, Severity.ERROR)) == 1


async def test_a_token_whose_rights_cannot_be_read_is_no_finding(gitlab: GitLabBench) -> None:
    """Older GitLabs do not tell; the other checks go on."""
    gitlab.gitlab.fault("404", on="token")
    assert await findings(gitlab, Severity.ERROR) == []
    assert "The project is private." in await findings(gitlab, Severity.OK)


async def test_check_writes_nothing(gitlab: GitLabBench) -> None:
    """Asking changes nothing over there."""
    await gitlab.tracker.check()
    assert {one["method"] for one in gitlab.gitlab.requests()} == {"GET"}
    gitlab.clock.advance(PATIENCE)

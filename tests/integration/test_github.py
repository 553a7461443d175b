"""What is special about GitHub?  Its repositories, its silence about what it drops, its limits."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.support.bench_github import GitHubBench
from tests.support.fake_github import FakeGitHub
from tests.support.fake_github_spec import specification, violations
from tests.support.messages import a_message
from tests.support.payloads import PAYLOADS
from tests.support.ports import reserved_port
from tests.support.trackers import (
    CANARY,
    PATIENCE,
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
from secbridge.model.issue import IssueChange, Severity
from secbridge.model.plaintext import Secret
from secbridge.ports import EffectKey

# ── The fake answers as GitHub does ──────────────────────────────────────────────────────────────


def test_what_github_does_not_specify_is_seen() -> None:
    """Requests and answers of the fake are held against GitHub's own description."""
    if not specification().is_file():
        pytest.skip(f"no specification at {specification()}")
    path = "/repos/o/r/issues"
    wrong_answer = violations("create-issue", "POST", path, {"title": "x"}, 201, b'{"id": 1}')
    wrong_request = violations("create-issue", "POST", path, {"titel": "x"}, 503, b"{}")
    assert "'number' is a required property" in "".join(wrong_answer)
    assert "create-issue: no parameter titel" in wrong_request
    assert "'title' is a required property" in "".join(wrong_request)


async def test_all_that_the_adapter_asks_is_specified_but_for_a_named_few(
    github: GitHubBench,
) -> None:
    """A round through the verbs: the fixture asserts that nothing was against the description."""
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github))
    await github.tracker.ensure_comment(ref, new_key(), comment_draft(github))
    await github.tracker.update(ref, IssueChange(add_labels=("a",), remove_labels=("a",)))
    await github.tracker.check()
    kinds = {one["kind"] for one in github.github.requests()}
    assert {"repository", "create-issue", "update-issue", "create-note", "labels"} <= kinds


# ── Secret or not at all ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("visibility", ["public", "internal"])
async def test_in_a_repository_that_is_not_private_nothing_is_created(
    github: GitHubBench, visibility: str
) -> None:
    """The visibility is read before the create, so that not even the neutral words are there."""
    github.github.settings(visibility=visibility)
    with pytest.raises(PermanentFault) as told:
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert (told.value.code, told.value.setting) == ("repository-not-private", "alias.project")
    assert told.value.alarm
    assert github.github.requests("create-issue") == []
    github.github.settings(visibility="private")
    await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert len(await github.issues()) == 1


async def test_an_internal_repository_will_do_where_the_operator_says_so(
    github_server: FakeGitHub,
) -> None:
    """``allow_internal`` is for enterprises that trust all their members."""
    github_server.reset()
    github_server.settings(visibility="internal")
    bench = GitHubBench(github_server, allow_internal=True)
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    assert CANARY in bench.bodies()


async def test_the_visibility_is_read_before_each_thing_that_is_told(github: GitHubBench) -> None:
    """Between one look and the next a click may have opened the repository."""
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github))
    await github.tracker.ensure_comment(ref, new_key(), comment_draft(github))
    kinds = [one["kind"] for one in github.github.requests()]
    for write in ("create-issue", "update-issue", "create-note"):
        assert kinds[kinds.index(write) - 1] == "repository"


async def test_a_repository_that_opens_while_the_report_is_told_gets_it_taken_back(
    github: GitHubBench,
) -> None:
    """The text goes back to the header, the issue is closed, and it alarms."""
    github.github.fault("opens-while-told")
    with log_lines() as lines, pytest.raises(NotConfidential):
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    (issue,) = await github.issues()
    assert CANARY not in issue.text
    assert not issue.open
    assert alarms(lines) == ["tracker.not_confidential"]


async def test_a_repository_that_opens_just_before_the_report_is_told_hears_nothing(
    github: GitHubBench,
) -> None:
    """The last look before the telling sees it: the issue is closed without a word."""
    key, draft = new_key(), report_draft(github)
    ref = await github.desk.create_issue(key, draft)
    github.github.settings(visibility="public")
    with log_lines() as lines, pytest.raises(NotConfidential):
        await github.desk.tell(ref, "the report", draft)
    (issue,) = await github.issues()
    assert "the report" not in issue.text
    assert not issue.open
    assert alarms(lines) == ["tracker.not_confidential"]


async def test_no_comment_goes_to_a_repository_that_was_opened(github: GitHubBench) -> None:
    """GitHub has no internal comments, so that a follow-up waits, with an alarm."""
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github, a_message()))
    github.github.settings(visibility="public")
    with pytest.raises(PermanentFault) as told:
        await github.tracker.ensure_comment(ref, new_key(), comment_draft(github))
    assert told.value.code == "repository-not-private"
    assert github.github.requests("create-note") == []


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"archived": True}, "repository-archived"), ({"has_issues": False}, "tracker-issues-off")],
)
async def test_a_repository_that_takes_no_issues_is_told_by_its_setting(
    github: GitHubBench, settings: dict[str, Any], code: str
) -> None:
    """The delivery waits, and drains when it is mended."""
    github.github.settings(**settings)
    with pytest.raises(PermanentFault) as told:
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert (told.value.code, told.value.setting) == (code, "alias.project")
    github.github.settings(archived=False, has_issues=True)
    await github.tracker.ensure_issue(new_key(), report_draft(github))


# ── What GitHub drops without a word ─────────────────────────────────────────────────────────────


async def test_a_dropped_label_is_asked_for_again(github: GitHubBench) -> None:
    """Labels that were dropped at the create are added before the report is told."""
    github.github.fault("labels-dropped")
    await github.tracker.ensure_issue(new_key(), report_draft(github))
    (issue,) = await github.issues()
    assert issue.labels == ("Security",)


async def test_an_account_that_may_not_write_never_tells_a_word(github: GitHubBench) -> None:
    """Without push access labels are dropped for good, and the label belongs to the proof."""
    github.github.settings(push=False)
    with log_lines() as lines, pytest.raises(NotConfidential):
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    (issue,) = await github.issues()
    assert not issue.open
    assert CANARY not in github.bodies()
    assert "tracker.not_confidential" in alarms(lines)


async def test_a_dropped_due_date_is_said_in_the_issue(github: GitHubBench) -> None:
    """What else is dropped keeps nobody from the report, and is noted where people read."""
    github.github.fault("milestone-dropped")
    with log_lines() as lines:
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    (issue,) = await github.issues()
    assert issue.due is None
    assert "Not set, though the settings ask for it: due date." in issue.text
    assert [line["event"] for line in lines] == ["tracker.not_as_asked"]


async def test_the_issues_of_a_day_share_a_milestone(github: GitHubBench) -> None:
    """A due date is a milestone with a neutral title, made once for each day."""
    for _ in range(3):
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    other = GitHubBench(github.github)
    await other.tracker.ensure_issue(new_key(), report_draft(other))
    await other.tracker.aclose()
    (made,) = github.github.state()["milestones"][github.project]
    assert made["title"] == "Security reports due 2026-11-27"
    assert {issue.due for issue in await github.issues()} == {report_draft(github).due}


async def test_an_issue_field_can_hold_the_due_date(github_server: FakeGitHub) -> None:
    """Where the organisation has a date field, that is set and read back in its place."""
    github_server.reset()
    github_server.settings(fields=["Priority", "Target date"], types=["Vulnerability"])
    bench = GitHubBench(github_server, due_field="target date", issue_type="Vulnerability")
    with log_lines() as lines:
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    state = await bench.tracker.look(ref)
    await bench.tracker.aclose()
    assert state.due == report_draft(bench).due
    assert lines == []
    (issue,) = github_server.issues()
    assert issue["type"]["name"] == "Vulnerability"
    assert github_server.violations() == []


async def test_a_field_and_a_type_that_there_are_not_are_noted(github_server: FakeGitHub) -> None:
    """A setting that names nothing is seen in each issue and by ``check``."""
    github_server.reset()
    bench = GitHubBench(github_server, due_field="Deadline", issue_type="Weakness")
    with log_lines():
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    found = {one.setting for one in await bench.tracker.check() if one.mend}
    await bench.tracker.aclose()
    (issue,) = github_server.issues()
    assert "Not set, though the settings ask for it: due date and type." in issue["body"]
    assert found == {"trackers.t.due_field", "trackers.t.issue_type"}


async def test_an_unknown_assignee_is_noted_and_alarmed(github: GitHubBench) -> None:
    """GitHub would refuse the whole issue for one unknown name, so names are asked for before."""
    draft = report_draft(github, assignees=("@alex", "outsider"))
    with log_lines() as lines:
        await github.tracker.ensure_issue(new_key(), draft)
    (issue,) = await github.issues()
    assert issue.assignees == ("alex",)
    assert "Not assigned, though the alias asks for it: `outsider`." in issue.text
    assert alarms(lines) == ["tracker.not_assigned"]


async def test_without_any_known_assignee_the_fallback_steps_in(github_server: FakeGitHub) -> None:
    """A configured fallback gets what would belong to nobody."""
    github_server.reset()
    bench = GitHubBench(github_server, fallback_assignee="kim")
    await bench.tracker.ensure_issue(new_key(), report_draft(bench, assignees=("gone",)))
    await bench.tracker.aclose()
    (issue,) = await bench.issues()
    assert issue.assignees == ("kim",)


async def test_an_assignee_who_left_is_asked_for_anew(github: GitHubBench) -> None:
    """A remembered name that GitHub refuses is forgotten, and the next try goes without it."""
    await github.tracker.ensure_issue(new_key(), report_draft(github))
    github.github.settings(roles={"secbridge-bot": "write"})
    key, draft = new_key(), report_draft(github)
    with pytest.raises(PermanentFault):
        await github.tracker.ensure_issue(key, draft)
    await github.tracker.ensure_issue(key, draft)
    assert [issue.assignees for issue in await github.issues()] == [("alex",), ()]


# ── Nothing acts ─────────────────────────────────────────────────────────────────────────────────


async def test_nothing_in_a_mail_comes_alive(github: GitHubBench) -> None:
    """All hostile payloads in one mail: GitHub's own parser finds nothing but text."""
    hostile = "\n\n".join(text for text in PAYLOADS.values() if len(text) < 500)
    message = a_message(text=hostile, subject=PAYLOADS["mentions"], authors=("@alex #1",))
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github, message))
    await github.tracker.ensure_comment(ref, new_key(), comment_draft(github, message))
    assert github.github.events() == []
    assert "SB-2026-0002" in (await github.issues())[0].text


async def test_the_fake_would_have_seen_it(github: GitHubBench) -> None:
    """The same words without a fence do come alive, so the test before this one can fail."""
    draft = report_draft(github)
    ref = await github.tracker.ensure_issue(new_key(), draft)
    await github.desk.tell(ref, "@alex fixes #1 ![x](https://evil.example/x.png)", draft)
    found = {event["what"] for event in github.github.events()}
    image = "img https://evil.example/x.png"
    assert {"mention @alex", "reference #1", "closing fixes #1", image} <= found


async def test_a_text_that_github_changed_raises_an_alarm(github: GitHubBench) -> None:
    """What was told is compared with what is there."""
    github.github.fault("text-mangled")
    with log_lines() as lines:
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert alarms(lines) == ["tracker.interpreted"]


async def test_a_report_that_is_too_long_is_cut(github: GitHubBench) -> None:
    """GitHub takes 65,536 characters; the note names the command for the rest."""
    await github.tracker.ensure_issue(
        new_key(), report_draft(github, a_message(text="€ " * 40_000))
    )
    (issue,) = await github.issues()
    assert 50_000 < len(issue.text.encode()) <= 65_536
    assert "more characters do not fit" in issue.text


# ── Limits, and what GitHub says instead ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limit", "least", "most"), [("secondary-limit", 60, 60), ("primary-limit", 1_700, 1_800)]
)
async def test_a_limit_is_waited_for_by_our_own_scheduler(
    github: GitHubBench, limit: str, least: int, most: int
) -> None:
    """A 403 that means "later" is a wait of a minute at least, or until the limit is reset."""
    github.github.fault(limit, on="create-issue")
    with pytest.raises(TransientFault) as told:
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert told.value.retry_after is not None
    assert least <= told.value.retry_after.total_seconds() <= most
    assert len(github.github.requests("create-issue")) == 1
    await github.tracker.ensure_issue(new_key(), report_draft(github))


async def test_a_limit_that_names_its_wait_is_believed(github: GitHubBench) -> None:
    """``Retry-After`` goes before our own minute."""
    github.github.fault("429", on="create-issue", retry_after="90")
    with pytest.raises(TransientFault) as told:
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert told.value.retry_after == timedelta(seconds=90)


async def test_an_error_of_an_odd_form_is_a_refusal_all_the_same(github: GitHubBench) -> None:
    """A message that is no text makes PyGithub stumble; we do not."""
    github.github.fault("message-is-no-text", on="create-issue")
    with pytest.raises(PermanentFault) as told:
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert told.value.code == "tracker-refused"


async def test_an_answer_that_is_not_there_yet_is_not_waited_for(github: GitHubBench) -> None:
    """PyGithub would ask again for ever after a 202; a thread of ours does not hang in it."""
    github.github.fault("202-to-a-read", on="repository")
    with pytest.raises(TransientFault):
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert len(github.github.requests("repository")) == 1


# ── The way there ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["301", "307"])
@pytest.mark.parametrize("on", ["create-issue", "read-issue", "update-issue", "repository"])
async def test_a_redirect_gets_neither_token_nor_report(
    github: GitHubBench, fault: str, on: str
) -> None:
    """No redirect to elsewhere is followed: the other host hears nothing."""
    github.github.fault(fault, on=on)
    await persist(github, new_key().marker, report_draft(github))
    assert github.github.elsewhere() == []
    assert len(await github.issues()) == 1


async def test_where_nobody_listens_nothing_was_sent(github: GitHubBench) -> None:
    """A refused connection is a passing fault, and the next try need not search or wait."""
    with reserved_port() as port:
        bench = GitHubBench(github.github, url=f"http://127.0.0.1:{port}/api/v3")
        with pytest.raises(TransientFault) as told:
            await bench.desk.create_issue(new_key(), report_draft(bench, assignees=()))
        await bench.tracker.aclose()
    assert told.value.code == "tracker-unreachable"


async def test_a_mended_token_is_taken_without_a_restart(github: GitHubBench) -> None:
    """After a refusal the secret is read again, so a delivery that waits drains by itself."""
    good, github.token = github.token, "github_pat_expired"
    with pytest.raises(PermanentFault) as told:
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert told.value.code == "tracker-token-refused"
    github.token = good
    await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert len(await github.issues()) == 1


@pytest.mark.parametrize("token", ["", None])
async def test_a_token_that_cannot_be_had_is_a_wait_with_an_alarm(
    github: GitHubBench, token: str | None
) -> None:
    """A missing or empty credential is mended by a person; the delivery waits."""

    def read() -> Secret:
        if token is None:
            raise ConfigError("secbridge.toml", "trackers.t.token", "is missing", "name one")
        return Secret(token)

    github.read_token = read
    with pytest.raises(PermanentFault) as told:
        await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert (told.value.code, told.value.alarm) == ("tracker-token-missing", True)


async def test_many_reports_at_once_are_many_issues(github: GitHubBench) -> None:
    """Several workers may want the same milestone at the same time; one makes it."""
    await asyncio.gather(
        *(github.tracker.ensure_issue(new_key(), report_draft(github)) for _ in range(8))
    )
    assert len(await github.issues()) == 8
    assert len(github.github.state()["milestones"][github.project]) == 1


async def test_an_issue_is_found_among_many_and_never_by_the_search(
    github_server: FakeGitHub,
) -> None:
    """The list is read page by page, by author and time alone."""
    github_server.reset()
    bench = GitHubBench(github_server, timeout=10)
    key, draft = new_key(), report_draft(bench)
    await bench.tracker.ensure_issue(key, draft)
    github_server.edit(0, fill=105)
    found = await bench.tracker.ensure_issue(EffectKey(key.marker, bench.clock.now()), draft)
    await bench.tracker.aclose()
    assert found.number == "1"
    asked = [one["body"] for one in github_server.requests("list-issues")]
    assert [one.get("page") for one in asked] == [None, "2"]
    assert {name for one in asked for name in one} == {
        "creator", "since", "state", "sort", "direction", "page", "per_page",
    }  # fmt: skip


# ── Transferred issues ───────────────────────────────────────────────────────────────────────────


async def test_an_issue_that_was_transferred_is_followed(github: GitHubBench) -> None:
    """Comments, changes and looks find it in its new repository, under its new number."""
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github))
    github.github.edit(1, transfer="octo/elsewhere")
    comment = await github.tracker.ensure_comment(ref, new_key(), comment_draft(github))
    await github.tracker.update(ref, IssueChange(open=False))
    state = await github.tracker.look(ref)
    assert (state.ref.project, state.ref.number) == ("octo/elsewhere", "1")
    assert (state.confidential, state.open) == (True, False)
    assert comment.issue == state.ref
    assert len(github.github.notes(1, "octo/elsewhere")) == 1


async def test_a_second_try_of_a_comment_follows_too(github: GitHubBench) -> None:
    """A fresh process that knows of no transfer finds the comment of the first attempt."""
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github))
    key, draft = new_key(), comment_draft(github)
    await github.tracker.ensure_comment(ref, key, draft)
    github.github.edit(1, transfer="octo/elsewhere")
    again = GitHubBench(github.github)
    await again.tracker.ensure_comment(ref, EffectKey(key.marker, github.clock.now()), draft)
    await again.tracker.aclose()
    assert len(github.github.notes(1, "octo/elsewhere")) == 1


async def test_an_issue_in_a_public_repository_is_no_secret_any_more(github: GitHubBench) -> None:
    """Where it was transferred to the public, that is seen, and no comment follows it there."""
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github, a_message()))
    github.github.edit(1, transfer="octo/open")
    assert not (await github.tracker.look(ref)).confidential
    with pytest.raises(PermanentFault):
        await github.tracker.ensure_comment(ref, new_key(), comment_draft(github))
    assert CANARY not in github.bodies()


async def test_what_moves_in_a_circle_is_given_up(github: GitHubBench) -> None:
    """The way is followed for a few steps and no further."""
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github))
    for project in ("octo/elsewhere", "octo/beside", "octo/elsewhere", "octo/beside"):
        here = github.github.state()["issues"][-1]["html_url"].rsplit("/", 4)
        github.github.edit(f"{here[1]}/{here[2]}#{here[4]}", transfer=project)
    with pytest.raises(PermanentFault) as told:
        await github.tracker.look(ref)
    assert told.value.code == "tracker-redirects"


# ── check ────────────────────────────────────────────────────────────────────────────────────────

CLASSIC = {"X-OAuth-Scopes": "repo, workflow"}


@pytest.mark.parametrize(
    ("settings", "severity", "expected"),
    [
        ({"visibility": "public"}, Severity.ERROR, "is not private"),
        ({"visibility": "internal"}, Severity.ERROR, "is internal"),
        ({"archived": True}, Severity.ERROR, "is archived"),
        ({"has_issues": False}, Severity.ERROR, "has no issues"),
        ({"push": False}, Severity.ERROR, "may not write"),
        ({"admin": True}, Severity.WARNING, "administers the repository"),
        ({"allow_forking": True}, Severity.WARNING, "may be forked"),
        ({"has_pages": True}, Severity.WARNING, "publishes pages"),
        ({"headers": CLASSIC}, Severity.WARNING, "is a classic one"),
        ({"labels": []}, Severity.OK, "will make these labels: Security"),
        ({"roles": {}}, Severity.WARNING, "cannot be assigned to alex"),
        ({"outsiders": ["outsider"]}, Severity.WARNING, "1 outside collaborators"),
        ({"watchers": 7}, Severity.OK, "Watched by 7"),
        ({"hooks": []}, Severity.OK, "No webhook carries"),
        ({"project": "octo/gone"}, Severity.ERROR, "knows no such repository"),
        ({"token": "another"}, Severity.ERROR, "refuses the token"),
    ],
)
async def test_check_finds_what_is_wrong(
    github: GitHubBench, settings: dict[str, Any], severity: Severity, expected: str
) -> None:
    """Each thing that would keep a report from being filed secretly is a finding with its mend."""
    if "project" in settings:
        github = GitHubBench(github.github, project=settings["project"])
    else:
        github.github.settings(**settings)
    found = [one for one in await github.tracker.check() if expected in one.text]
    await github.tracker.aclose()
    assert [one.severity for one in found] == [severity]
    assert severity is Severity.OK or (found[0].mend and found[0].setting)


async def test_check_tells_of_webhooks_that_carry_reports_away(github: GitHubBench) -> None:
    """Where the account may see webhooks, one that sends issues elsewhere is a warning."""
    hook = {
        "type": "Repository", "id": 1, "name": "web", "active": True, "events": ["issues"],
        "config": {}, "updated_at": "2020-01-01T00:00:00Z", "created_at": "2020-01-01T00:00:00Z",
        "url": "https://x", "test_url": "https://x", "ping_url": "https://x",
        "last_response": {"code": None, "status": None, "message": None},
    }  # fmt: skip
    github.github.settings(hooks=[hook])
    found = [one for one in await github.tracker.check() if one.severity is Severity.WARNING]
    assert [one.text for one in found] == ["1 webhooks send issues or files to other systems."]


async def test_check_warns_before_the_token_expires(github: GitHubBench) -> None:
    """Two weeks before the end, and not three months before it."""
    for days, expected in ((10, 1), (90, 0)):
        ends = github.clock.now().date() + timedelta(days=days)
        header = {"GitHub-Authentication-Token-Expiration": f"{ends.isoformat()} 10:00:00 UTC"}
        github.github.settings(headers=header)
        found = [one for one in await github.tracker.check() if one.severity is Severity.WARNING]
        assert len(found) == expected


@pytest.mark.parametrize("fault", ["500-before", "drop-before", "html-200", "429", "403"])
async def test_check_of_a_github_that_is_away_is_a_finding(github: GitHubBench, fault: str) -> None:
    """A failure is told as a finding and raises nothing."""
    github.github.fault(fault, on="labels")
    found = [one for one in await github.tracker.check() if one.severity is Severity.ERROR]
    assert len(found) == 1


async def test_check_writes_nothing(github: GitHubBench) -> None:
    """Asking changes nothing over there."""
    await github.tracker.check()
    assert {one["method"] for one in github.github.requests()} == {"GET"}


# ── Time ─────────────────────────────────────────────────────────────────────────────────────────


async def test_an_issue_of_long_ago_is_found(github: GitHubBench) -> None:
    """A delivery that waited for weeks finds the issue of its first attempt."""
    key, draft = new_key(), report_draft(github)
    github.github.fault("drop-after", on="create-issue")
    with pytest.raises(OutcomeUnknown):
        await github.tracker.ensure_issue(key, draft)
    github.clock.advance(timedelta(days=30) + PATIENCE)
    await github.tracker.ensure_issue(EffectKey(key.marker, github.clock.now()), draft)
    assert len(await github.issues()) == 1

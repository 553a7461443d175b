"""Can this GitLab project keep a secret?  What ``check()`` sees, and what it says of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support.bench_gitlab import GitLabBench
from tests.support.fake_gitlab import FakeGitLab

from secbridge.model.issue import Severity


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
        ({"scopes": ["api", "sudo"]}, Severity.WARNING, "more than secbridge needs: sudo"),
        ({"emails_enabled": True}, Severity.WARNING, "mails the text of issues, in clear"),
        ({"service_desk": True}, Severity.WARNING, "Service Desk is on"),
        ({"access_level": 20}, Severity.OK, "shown to Maintainers alone"),
        ({"access_level": 20}, Severity.OK, "this account too: 3."),
        ({"levels": {"1": 10}}, Severity.OK, "this account too: 1."),
        ({"access_level": 40}, Severity.OK, "No webhook or integration gets confidential"),
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
    """A failure is told as a finding and raises nothing; it passes unless a person has to act."""
    gitlab.gitlab.fault(fault, on="project")
    (found,) = [one for one in await gitlab.tracker.check() if one.severity is Severity.ERROR]
    assert found.passing is (fault != "403")
    assert found.mend


async def test_a_token_whose_rights_cannot_be_read_is_no_finding(gitlab: GitLabBench) -> None:
    """Older GitLabs do not tell; the other checks go on."""
    gitlab.gitlab.fault("404", on="token")
    assert await findings(gitlab, Severity.ERROR) == []
    assert any("The project is private." in one for one in await findings(gitlab, Severity.OK))


async def test_check_writes_nothing(gitlab: GitLabBench) -> None:
    """Asking changes nothing over there."""
    await gitlab.tracker.check()
    assert {one["method"] for one in gitlab.gitlab.requests()} == {"GET"}


@pytest.mark.parametrize("kind", ["hooks", "integrations"])
async def test_who_carries_confidential_issues_elsewhere_is_told(
    gitlab: GitLabBench, kind: str
) -> None:
    """A webhook or integration that gets them mirrors the report; only Maintainers see them."""
    mirror = {"id": 1, "active": True, "confidential_note_events": True}
    harmless = {"id": 2, "active": True, "issues_events": True}
    gitlab.gitlab.settings(access_level=40, **{kind: [mirror, harmless]})
    assert any("confidential issues or notes: 1." in one for one in await warnings(gitlab))


@pytest.mark.parametrize(
    ("settings", "severity", "expected"),
    [
        ({"visibility": "public"}, Severity.ERROR, "the project is public"),
        ({"visibility": "private"}, Severity.WARNING, "these alone are sealed"),
        ({"visibility": "internal", "media_protected": True}, Severity.OK, "images too"),
    ],
)
async def test_plain_uploads_are_for_projects_that_protect_them(
    gitlab_server: FakeGitLab, settings: dict[str, Any], severity: Severity, expected: str
) -> None:
    """The policy ``upload`` is refused in public, and images go as they are where it is safe."""
    gitlab_server.reset()
    gitlab_server.settings(**settings)
    bench = GitLabBench(gitlab_server, attachments="upload")
    found = [one for one in await bench.tracker.check() if expected in one.text]
    await bench.tracker.aclose()
    assert severity in {one.severity for one in found}


async def warnings(bench: GitLabBench) -> list[str]:
    """Return the texts of the warnings."""
    return await findings(bench, Severity.WARNING)

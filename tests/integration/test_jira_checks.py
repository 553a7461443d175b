"""What does ``secbridge check`` say of a Jira, and which options does one have?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.bench_jira import JiraBench
from tests.support.fake_jira import RIGHTS, FakeJira

from secbridge.model.issue import Finding, Severity
from secbridge.trackers import registry
from secbridge.trackers.files import FilePolicy
from secbridge.trackers.jira import JiraSettings

ERROR, WARNING, OK = Severity.ERROR, Severity.WARNING, Severity.OK
SCREEN = ["project", "issuetype", "summary", "description", "labels", "duedate", "security"]
FULL = [*SCREEN, "assignee", "priority"]


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


@pytest.fixture(params=["cloud", "data-center"])
async def both(server: FakeJira, request: pytest.FixtureRequest) -> AsyncIterator[JiraBench]:
    """Return the adapter before an empty Jira of each deployment."""
    server.reset()
    bench = JiraBench(server, deployment=request.param)
    yield bench
    await bench.tracker.aclose()


async def found(server: FakeJira, expected: str, **settings: Any) -> list[Finding]:
    """Return the findings of a Jira with these settings of ours that say ``expected``."""
    bench = JiraBench(server, **settings)
    findings = await bench.tracker.check()
    await bench.tracker.aclose()
    assert {one["method"] for one in server.requests()} == {"GET"}
    return [finding for finding in findings if expected in finding.text]


async def test_a_good_project_has_nothing_to_mend(both: JiraBench) -> None:
    """In both deployments."""
    findings = await both.tracker.check()
    assert [finding for finding in findings if finding.severity is not OK] == []
    assert "New issues have a security level by default." in [one.text for one in findings]


@pytest.mark.parametrize(
    ("over_there", "severity", "expected"),
    [
        ({"archived": True}, ERROR, "is archived"),
        ({"project": "OTHER"}, ERROR, "knows no such project"),
        ({"token": "another"}, ERROR, "refuses the token"),
        ({"project_type": "service_desk"}, ERROR, "shows comments to its customers"),
        ({"rights": ["BROWSE_PROJECTS"]}, ERROR, "Set Issue Security"),
        ({"rights": [*RIGHTS, "ADMINISTER"]}, WARNING, "far too much"),
        ({"issue_types": ["Bug"]}, ERROR, "no issue type Task"),
        ({"screen": SCREEN[:-1]}, ERROR, "Security Level is not on the create screen"),
        ({"screen": [one for one in FULL if one != "labels"]}, ERROR, "Labels is not on"),
        ({"screen": [one for one in FULL if one != "duedate"]}, WARNING, "Due date is not on"),
        ({"screen": SCREEN}, WARNING, "Assignee is not on"),
        ({"required": ["environment"], "screen": [*FULL, "environment"]}, ERROR, "Environment"),
        ({"levels": []}, ERROR, "no issue security level that includes"),
        ({"visible": []}, ERROR, "no issue security level that includes"),
        ({"visible": ["10002"]}, ERROR, "no security level Team that includes"),
        ({"default_level": ""}, WARNING, "opens here by hand has no security level"),
        ({"scheme_hidden": True}, OK, "The security level Team is there."),
        ({"assignable": ["kim"]}, WARNING, "No issue can be assigned to alex"),
        ({"roles_hidden": True}, WARNING, "nobody's commands count"),
        ({"notified": ["Group"]}, WARNING, "mails the text of issues in clear, to groups"),
        ({"notified": []}, OK, "Jira mails nobody."),
        ({"transitions": ["To Do"]}, WARNING, "no status that is done"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_check_finds_what_is_wrong(
    server: FakeJira, over_there: dict[str, Any], severity: Severity, expected: str
) -> None:
    """Each thing that would keep a report from being filed secretly is a finding with its mend."""
    server.reset()
    server.settings(**over_there)
    findings = await found(server, expected)
    assert [one.severity for one in findings] == [severity]
    assert severity is OK or (findings[0].mend and findings[0].setting)


@pytest.mark.parametrize(
    ("ours", "severity", "expected"),
    [
        ({"security_level": "Nobody"}, ERROR, "no security level Nobody"),
        ({"priority": "Blocker"}, WARNING, "no priority Blocker"),
        ({"comment_role": "Nobody"}, ERROR, "no role Nobody"),
        ({"service_desk": True}, ERROR, "is no service desk"),
        ({"issue_type": "Story"}, ERROR, "no issue type Story"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_check_finds_what_we_were_told_wrong(
    server: FakeJira, ours: dict[str, Any], severity: Severity, expected: str
) -> None:
    """A setting that names what Jira does not have says what there is."""
    server.reset()
    findings = await found(server, expected, **ours)
    assert [one.severity for one in findings] == [severity]
    assert findings[0].mend


async def test_without_a_level_and_without_a_default_it_refuses_to_file(server: FakeJira) -> None:
    """Nothing is configured, and nothing is given: every issue would be open."""
    server.reset()
    server.settings(default_level="")
    (finding,) = await found(server, "gives none by default", security_level="")
    assert finding.severity is ERROR


async def test_the_other_deployment_is_noticed(both: JiraBench) -> None:
    """A cloud that was called a Data Center, and the other way round."""
    is_cloud = both.deployment == "cloud"
    both.jira.settings(deployment="Server" if is_cloud else "Cloud")
    findings = await both.tracker.check()
    assert [one.severity for one in findings][-1] is ERROR


async def test_what_was_mended_is_seen_by_the_next_check(both: JiraBench) -> None:
    """Nothing that refuses to file is remembered: the level, the token, the account."""
    both.jira.settings(visible=[])
    assert ERROR in {one.severity for one in await both.tracker.check()}
    both.jira.settings(visible=["10001"])
    assert {one.severity for one in await both.tracker.check()} == {OK}
    both.jira.settings(token="revoked")
    assert ERROR in {one.severity for one in await both.tracker.check()}


async def test_files_on_a_service_desk_are_warned_of(server: FakeJira) -> None:
    """Whether its customers see them is not ours to know."""
    server.reset()
    server.settings(project_type="service_desk")
    assert await found(server, "files to its customers", service_desk=True) == []
    (finding,) = await found(
        server, "files to its customers", service_desk=True, attachments="upload"
    )
    assert finding.severity is WARNING


@pytest.mark.parametrize("fault", ["500-before", "drop-before", "html-200", "429", "403"])
async def test_check_of_a_tracker_that_is_away_is_a_finding(server: FakeJira, fault: str) -> None:
    """A failure is told as a finding and raises nothing."""
    server.reset()
    server.fault(fault, on="project")
    bench = JiraBench(server)
    findings = await bench.tracker.check()
    await bench.tracker.aclose()
    assert [one.severity for one in findings if one.severity is not OK] == [ERROR]


# ── Options ──────────────────────────────────────────────────────────────────────────────────────

GIVEN = {"url": "https://a.example", "token_credential": "t", "user": "bot@example.org"}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"url": "http://jira.example.org"}, "https://"),
        ({"url": "https://user:hunter2@jira.example.org"}, "without a user"),
        ({"token_credential": ""}, "one of the two"),
        ({"token_file": "/run/t"}, "one of the two"),
        ({"token": "hunter2"}, "token"),
        ({"user": ""}, "needs user"),
        ({"comment_role": "a", "comment_group": "b"}, "not both"),
        ({"deployment": "server"}, "data-center"),
        ({"attachments": "all"}, "inline-text"),
    ],
)
def test_options_that_cannot_be_used_are_refused_and_not_repeated(
    given: dict[str, str], problem: str
) -> None:
    """Each mistake is named; what stood there is not shown."""
    with pytest.raises(ValidationError, match=problem) as told:
        JiraSettings.model_validate(GIVEN | given)
    assert "hunter2" not in str(told.value)


def test_a_data_center_needs_no_user() -> None:
    """A personal access token says whose it is; a context path is part of the address."""
    settings = JiraSettings.model_validate(
        {"url": "https://example.org/jira/", "deployment": "data-center", "token_file": "/run/t"}
    )
    assert settings.url == "https://example.org/jira"


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({}, FilePolicy.UPLOAD),
        ({"service_desk": True}, FilePolicy.SEALED),
        ({"service_desk": True, "attachments": "upload"}, FilePolicy.UPLOAD),
    ],
)
def test_files_are_uploaded_unless_customers_may_see_them(
    given: dict[str, Any], policy: FilePolicy
) -> None:
    """Jira shows files to those who see the issue; of a service desk nobody knows."""
    assert policy is JiraSettings.model_validate(GIVEN | given).wishes().attachments


def test_every_option_says_what_it_is_for() -> None:
    """The manual is made from these sentences."""
    for name, field in JiraSettings.model_fields.items():
        assert field.description, name


def test_jira_is_a_plugin() -> None:
    """It is found by entry point, as a third party's is."""
    assert registry.plugin("jira").name == "jira"


def test_naming_a_jira_imports_no_client_library() -> None:
    """A daemon with another tracker does not pay for Jira's, nor does reading its options."""
    code = (
        "import sys; from secbridge.trackers import registry; registry.plugin('jira')"
        ".settings_model(url='https://a.example', user='a@b.example', token_credential='t');"
        "print([name for name in ('jira', 'requests') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

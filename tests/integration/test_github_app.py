"""Does a GitHub App work as a token does?  It signs for tokens, by the same rules of the door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support.bench_github import GitHubBench
from tests.support.fake_github import FakeGitHub
from tests.support.trackers import (
    CANARY,
    answer_within,
    comment_draft,
    log_lines,
    new_key,
    persist,
    report_draft,
)

from secbridge.errors import PermanentFault, TransientFault
from secbridge.model.issue import Severity
from secbridge.ports import EffectKey


@dataclass(frozen=True)
class AppKey:
    """The key pair of an App: GitHub keeps the public half."""

    private: str
    public: str


@pytest.fixture(scope="module")
def app_key() -> AppKey:
    """Return a new key pair."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return AppKey(pem.decode(), public.decode())


def app_bench(server: FakeGitHub, key: AppKey, private: str = "", **settings: Any) -> GitHubBench:
    """Return the adapter as an App before an empty GitHub, which knows its public key."""
    server.reset()
    server.settings(app_key=key.public, bot="secbridge[bot]", users=USERS)
    secrets = {"app_key": private or key.private}
    given: dict[str, Any] = {"app_id": "77", "installation_id": 5, "app_key_credential": "k"}
    return GitHubBench(server, secrets=secrets, **(given | settings))


USERS = {"secbridge[bot]": 42, "alex": 1, "kim": 2}


async def test_an_app_files_and_finds_its_own_issue_again(
    github_server: FakeGitHub, app_key: AppKey
) -> None:
    """Its robot is the author, by which an issue of an earlier attempt is known as ours."""
    bench = app_bench(github_server, app_key)
    key, draft = new_key(), report_draft(bench)
    first = await bench.tracker.ensure_issue(key, draft)
    found = await bench.tracker.ensure_issue(EffectKey(key.marker, bench.clock.now()), draft)
    await bench.tracker.ensure_comment(first, new_key(), comment_draft(bench))
    await bench.tracker.aclose()
    assert first == found
    (asked,) = github_server.requests("list-issues")
    assert asked["body"]["creator"] == "secbridge[bot]"
    assert github_server.violations() == []


async def test_one_token_serves_all_requests_of_its_hour(
    github_server: FakeGitHub, app_key: AppKey
) -> None:
    """The token is shared by all threads, and not asked for before each request."""
    bench = app_bench(github_server, app_key)
    for _ in range(3):
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    assert len(github_server.requests("create-token")) == 1


async def test_a_token_is_fetched_anew_before_it_ends(
    github_server: FakeGitHub, app_key: AppKey
) -> None:
    """One with two minutes left is not used for another request."""
    bench = app_bench(github_server, app_key)
    github_server.settings(token_life=120)
    await bench.tracker.look(await bench.tracker.ensure_issue(new_key(), report_draft(bench)))
    await bench.tracker.aclose()
    asked = [one for one in github_server.requests() if one["kind"] != "create-token"]
    assert len(github_server.requests("create-token")) == len(asked)


async def test_a_token_that_github_took_back_is_replaced(
    github_server: FakeGitHub, app_key: AppKey
) -> None:
    """A 401 forgets the token: the next try asks for another."""
    bench = app_bench(github_server, app_key)
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    github_server.settings(leased=[])
    key, draft = new_key(), report_draft(bench)
    with pytest.raises(PermanentFault) as told:
        await bench.tracker.ensure_issue(key, draft)
    await bench.tracker.ensure_issue(key, draft)
    await bench.tracker.aclose()
    assert (told.value.code, told.value.setting) == ("tracker-token-refused", "trackers.t.app_id")


@pytest.mark.parametrize(
    "fault", ["302", "307", "drop-after", "500-before", "slow-before", "html-200"]
)
async def test_a_failure_to_get_a_token_sends_nothing_of_the_report(
    github_server: FakeGitHub, app_key: AppKey, fault: str
) -> None:
    """The App's own request follows the door's rules: once, no redirect, no wait, nothing sent."""
    bench = app_bench(github_server, app_key, timeout=answer_within(fault))
    github_server.fault(fault, on="create-token")
    with log_lines(), pytest.raises((TransientFault, PermanentFault)):
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    assert [one["kind"] for one in github_server.requests()] == ["create-token"]
    assert github_server.elsewhere() == []
    await persist(bench, new_key().marker, report_draft(bench))
    await bench.tracker.aclose()
    assert len(await bench.issues()) == 1


async def test_a_key_that_is_not_the_apps_is_told_by_its_settings(
    github_server: FakeGitHub, app_key: AppKey
) -> None:
    """GitHub refuses the signature: what belongs together is named."""
    bench = app_bench(github_server, app_key, app_id="78")
    with pytest.raises(PermanentFault) as told:
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    assert told.value.code == "tracker-app-refused"
    assert told.value.setting == "trackers.t.installation_id"


async def test_a_key_that_is_none_is_told_before_any_request(
    github_server: FakeGitHub, app_key: AppKey
) -> None:
    """What PyJWT says of the key is not repeated."""
    bench = app_bench(github_server, app_key, private="hunter2")
    with log_lines() as lines, pytest.raises(PermanentFault) as told:
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    assert told.value.code == "tracker-app-key-unusable"
    assert "hunter2" not in repr(lines) + repr(told.value.args)
    assert github_server.requests() == []


@pytest.mark.parametrize(
    ("permissions", "severity", "expected"),
    [
        ({"issues": "write", "contents": "write", "metadata": "read"}, Severity.OK, "fit"),
        ({"issues": "read", "contents": "write", "metadata": "read"}, Severity.ERROR, "lacks"),
        (
            {"issues": "write", "contents": "write", "metadata": "read", "administration": "write"},
            Severity.WARNING,
            "more than it needs",
        ),
    ],
)
async def test_check_compares_the_apps_permissions_with_what_is_needed(
    github_server: FakeGitHub,
    app_key: AppKey,
    permissions: dict[str, str],
    severity: Severity,
    expected: str,
) -> None:
    """Too little is an error, too much a warning; both name the permissions."""
    bench = app_bench(github_server, app_key)
    github_server.settings(app_permissions=permissions)
    found = [one for one in await bench.tracker.check() if expected in one.text]
    await bench.tracker.aclose()
    assert [one.severity for one in found] == [severity]


async def test_nothing_of_an_app_is_in_the_log(github_server: FakeGitHub, app_key: AppKey) -> None:
    """Neither key nor token nor report."""
    bench = app_bench(github_server, app_key)
    github_server.fault("500-after", on="update-issue")
    with log_lines() as lines, pytest.raises(Exception, match="tracker-failed"):
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    await bench.tracker.aclose()
    for secret in (CANARY, "ghs_", "PRIVATE KEY"):
        assert secret not in repr(lines)

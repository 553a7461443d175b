"""Which settings of a GitHub are refused?  Those that leak a token, or contradict each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from secbridge.trackers.github import GitHubSettings
from secbridge.trackers.github_answers import issue_of_url

TOKEN: dict[str, Any] = {"token_credential": "t"}
APP: dict[str, Any] = {"app_id": "77", "installation_id": 5, "app_key_credential": "k"}


def problem(**given: Any) -> str:
    """Return what is said of settings that cannot be used."""
    with pytest.raises(ValidationError) as told:
        GitHubSettings(**given)
    assert "hunter2" not in str(told.value)
    return str(told.value)


def test_a_token_alone_is_enough() -> None:
    """Everything else has a default, and the safe one."""
    settings = GitHubSettings(**TOKEN)
    assert (settings.mode, settings.attachments) == ("private-repository", "sealed")
    assert not settings.allow_internal
    assert not settings.advisory_comments


@pytest.mark.parametrize(
    "url",
    [
        "http://ghe.example.org/api/v3",
        "ghe.example.org",
        "https://user:hunter2@ghe.example.org",
        "https://ghe.example.org?token=hunter2",
        "",
    ],
)
def test_an_address_that_would_leak_the_token_is_refused(url: str) -> None:
    """Neither clear HTTP over a network nor a password in the address."""
    assert "must b" in problem(url=url, **TOKEN)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "one of these"),
        ({**TOKEN, "token_file": "/x"}, "one of these"),
        ({**TOKEN, **APP}, "one of these"),
        ({**APP, "app_key_credential": ""}, "needs app_id, installation_id and app_key"),
        ({**APP, "app_key_file": "/x"}, "needs app_id, installation_id and app_key"),
        ({**APP, "installation_id": None}, "needs app_id, installation_id and app_key"),
        ({**TOKEN, "installation_id": 5}, "needs app_id, installation_id and app_key"),
    ],
)
def test_there_is_one_identity(given: dict[str, Any], expected: str) -> None:
    """A token, or an App with all that belongs to it, and never both."""
    assert expected in problem(**given)


@pytest.mark.parametrize("given", [TOKEN, {"token_file": "/x"}, APP])
def test_each_whole_identity_is_taken(given: dict[str, Any]) -> None:
    """Three ways to say who we are."""
    GitHubSettings(**given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"severity": "high", "cvss_vector": "CVSS:3.1/x"}, "takes one of them"),
        ({"advisory_comments": True, "companion": "o/r"}, "comments go to one of them"),
        ({"package": "x"}, "without its ecosystem"),
        ({"companion": "no-owner"}, "pattern"),
        ({"companion": "a/b/c"}, "pattern"),
        ({"mode": "public"}, "private-repository"),
        ({"credits": {"alex": "hero"}}, "credits.alex"),
        ({"severity": "fatal"}, "severity"),
        ({"commanders": "read"}, "commanders"),
        ({"api_version": "latest"}, "pattern"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    given: dict[str, Any], expected: str
) -> None:
    """Each with a word that says what is the matter."""
    assert expected in problem(**TOKEN, **given)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/octo/reports/issues/7", ("octo/reports", "7")),
        (" https://ghe.example.org/octo/reports/issues/7#issuecomment-1 ", ("octo/reports", "7")),
        ("https://github.com/octo/reports/issues/7/", ("octo/reports", "7")),
        ("https://github.com/octo/reports/pull/7", None),
        ("https://github.com/octo/reports/issues/x", None),
        ("octo/reports#7", None),
        ("", None),
    ],
)
def test_the_address_of_an_issue_is_read(url: str, expected: tuple[str, str] | None) -> None:
    """As people paste it from their browser."""
    assert issue_of_url(url) == expected


# ── The documents ────────────────────────────────────────────────────────────────────────────────

ROOT = Path(__file__).resolve().parents[2]


def test_the_handbook_tells_of_each_option() -> None:
    """docs/configuration.md has a row for each, in the words of the settings themselves."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    section = text.partition('#### kind = "github"')[2].partition("####")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", section, re.MULTILINE))
    told = {name: one.description for name, one in GitHubSettings.model_fields.items()}
    told["branch"] = "The branch that files are committed to."  # its default says the rest
    assert told == rows


def test_the_example_shows_each_option_with_its_default() -> None:
    """config/secbridge.toml can be uncommented, and then says what was so already."""
    text = (ROOT / "config" / "secbridge.toml").read_text()
    section = text.partition("# [trackers.github]\n")[2].partition("# [trackers.")[0]
    lines = [line[2:] for line in section.split("\n") if re.match(r"# \w+ = ", line)]
    shown = tomllib.loads("\n".join(lines))
    assert shown.pop("kind") == "github"
    assert set(shown) == set(GitHubSettings.model_fields)
    chosen = {"token_credential", "token_file", "ca_file", "companion"}
    chosen |= {"app_id", "installation_id", "app_key_credential", "app_key_file"}
    chosen |= {"webhook_secret_credential", "webhook_secret_file"}
    defaults = {name: value for name, value in shown.items() if name not in chosen}
    assert GitHubSettings(**TOKEN) == GitHubSettings(**TOKEN, **defaults)

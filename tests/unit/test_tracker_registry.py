"""Which trackers are there, and what does naming them cost?  Nothing, until one is used."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest
from pydantic import ValidationError

from secbridge.trackers import registry
from secbridge.trackers.gitlab import GitLabSettings

SDKS = ("gitlab", "github", "jira", "requests", "httpx", "httpcore", "uvicorn", "pytest")
"""What nobody pays for who does not use it; pytest comes with the contract suite."""

BUILT_IN = ("github", "gitlab", "jira", "local")


def run(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "module",
    ["secbridge", "secbridge.cli", "secbridge.daemon", "secbridge.trackers.registry"]
    + [f"secbridge.trackers.{name}" for name in BUILT_IN],
)
def test_importing_secbridge_imports_no_client_library(module: str) -> None:
    """A daemon with the embedded tracker does not pay for GitLab's."""
    code = f"import sys, {module}; print([name for name in {SDKS!r} if name in sys.modules])"
    assert run(code) == "[]"


def test_the_plugins_checked_settings_import_no_client_library() -> None:
    """Checking a configuration that names a GitLab needs no library either."""
    code = (
        "import sys; from secbridge.trackers import registry;"
        "registry.plugin('gitlab').settings_model(url='https://a.example', token_credential='t');"
        f"print([name for name in {SDKS!r} if name in sys.modules])"
    )
    assert run(code) == "[]"


def test_the_built_in_trackers_are_plugins() -> None:
    """They are found by entry point, as a third party's is."""
    assert set(BUILT_IN) <= set(registry.names())
    for name in BUILT_IN:
        assert name == registry.plugin(name).name


def test_an_unknown_kind_names_those_that_there_are() -> None:
    """A typo in ``kind`` shows what one could have meant."""
    with pytest.raises(registry.UnknownTracker, match="github, gitlab, jira, local"):
        registry.plugin("gitlob")


def test_a_missing_library_names_the_extra() -> None:
    """Who forgot the extra is told what to install."""
    with pytest.raises(registry.MissingLibrary, match=r"pip install 'secbridge\[gitlab\]'"):
        registry.library("no_such_module_anywhere", extra="gitlab")


# ── The options of a GitLab ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        "http://gitlab.example.org",
        "gitlab.example.org",
        "ftp://gitlab.example.org",
        "https://user:hunter2@gitlab.example.org",
        "https://gitlab.example.org?private_token=hunter2",
        "",
    ],
)
def test_an_address_that_would_leak_the_token_is_refused_and_not_repeated(url: str) -> None:
    """Neither clear HTTP over a network nor a password in the URL; the message does not echo it."""
    with pytest.raises(ValidationError) as told:
        GitLabSettings(url=url, token_credential="t")
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    "url",
    ["https://gitlab.example.org/", "http://127.0.0.1:8080", "http://localhost", "http://[::1]"],
)
def test_https_and_loopback_are_taken(url: str) -> None:
    """A closing slash makes no difference."""
    assert url.rstrip("/") == GitLabSettings(url=url, token_credential="t").url


@pytest.mark.parametrize(
    "given", [{}, {"token_credential": "t", "token_file": "/run/t"}], ids=["none", "both"]
)
def test_a_token_comes_from_one_place(given: dict[str, str]) -> None:
    """Neither none nor two."""
    with pytest.raises(ValidationError, match="one of the two"):
        GitLabSettings(url="https://gitlab.example.org", **given)  # type: ignore[arg-type]  # as TOML gives it


def test_a_token_in_the_table_itself_is_refused() -> None:
    """Secrets stand there by reference only."""
    with pytest.raises(ValidationError) as told:
        GitLabSettings.model_validate(
            {"url": "https://a.example", "token_credential": "t", "token": "glpat-hunter2"}
        )
    assert "hunter2" not in str(told.value)


def test_times_are_written_with_their_unit() -> None:
    """``timeout = "45s"`` and ``timeout = 45`` are the same."""
    for written in ("45s", "45 s", 45, "45000ms"):
        settings = GitLabSettings.model_validate(
            {"url": "https://a.example", "token_credential": "t", "timeout": written}
        )
        assert timedelta(seconds=45) == settings.timeout


@pytest.mark.parametrize("written", ["0s", "-1s", "10h", "5 fortnights", "soon"])
def test_a_wait_has_bounds(written: str) -> None:
    """No wait is endless, and none is nothing."""
    with pytest.raises(ValidationError):
        GitLabSettings.model_validate(
            {"url": "https://a.example", "token_credential": "t", "timeout": written}
        )


def test_every_option_says_what_it_is_for() -> None:
    """The manual is made from these sentences."""
    for name, field in GitLabSettings.model_fields.items():
        assert field.description, name

"""Do the two sides of the webhooks fit?  A door and secrets, told before a tracker finds out."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.hooking import SECRET, SIGNING_TOKEN

from secbridge.cli.checks import web_findings
from secbridge.doors import build_hooks
from secbridge.errors import ConfigError
from secbridge.model.issue import Severity
from secbridge.settings import Settings, load

DOOR = '[web]\nlisten = "unix:hooks.sock"\n'
SIGNED = 'webhook_signing_token_file = "signing"\n'
TRACKERS = """
[trackers.main]
kind = "gitlab"
url = "https://gitlab.example.org"
token_file = "token"
{}
[trackers.other]
kind = "local"
[[alias]]
address = "security@example.org"
role_keys = ["0123456789ABCDEF0123456789ABCDEF01234567"]
"""


def settings(folder: Path, *, door: str = "", secret: str = "") -> Settings:
    """Return the settings of a GitLab, perhaps with a door, perhaps with a secret."""
    for name, text in (("signing", SIGNING_TOKEN), ("plain", SECRET)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    file = folder / "secbridge.toml"
    file.write_text(door + TRACKERS.format(secret))
    return load(file)


@pytest.mark.parametrize(
    ("door", "secret", "severity", "said"),
    [
        (DOOR, SIGNED, Severity.OK, "hooks.sock, path /hooks/NAME, for: main."),
        (DOOR, "", Severity.WARNING, "no tracker has a secret"),
        ("", SIGNED, Severity.WARNING, "nothing listens"),
        ("", "", Severity.OK, "None come in"),
        (DOOR, 'webhook_token_file = "nowhere"\n', Severity.ERROR, "webhook_token: the file"),
        (DOOR, 'webhook_signing_token_file = "plain"\n', Severity.ERROR, "cannot be used"),
    ],
)
def test_check_tells_where_webhooks_come_in_and_which_half_is_missing(
    tmp_path: Path, door: str, secret: str, severity: Severity, said: str
) -> None:
    """A door without a secret, a secret without a door, and one that cannot be read."""
    (found,) = web_findings(settings(tmp_path, door=door, secret=secret))
    assert found.severity is severity
    assert said in found.text
    assert bool(found.mend) == (severity is not Severity.OK)


def test_what_is_no_signing_token_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    """A secret token in the place of a signing token is named by its option, and not shown."""
    chosen = settings(tmp_path, secret='webhook_signing_token_file = "plain"\n')
    with pytest.raises(ConfigError) as told:
        build_hooks(chosen)
    assert told.value.setting == "trackers.main.webhook_signing_token"
    assert "begins with whsec_" in told.value.mend
    assert SECRET not in str(told.value)


def test_only_trackers_with_a_secret_are_heard(tmp_path: Path) -> None:
    """The embedded tracker has no webhooks, and needs none."""
    assert list(build_hooks(settings(tmp_path, secret=SIGNED))) == ["main"]
    assert build_hooks(settings(tmp_path)) == {}

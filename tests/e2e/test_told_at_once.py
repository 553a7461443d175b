"""Is the team heard at once, and once?  The real daemon, and a GitLab with webhooks and without."""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import hooking
from tests.support.fake_gitlab import FakeGitLab
from tests.support.hooking import SIGNING_TOKEN
from tests.support.keys import REPORTER, ROLE, Keys, Ring
from tests.support.relay import Relay, relay_in_thread
from tests.support.reports import plain_report
from tests.support.running import PATIENCE, RunningDaemon, write_config
from tests.support.village import states, wait_until


@dataclass
class Place:
    """A GitLab, a relay, and where installations go."""

    gitlab: FakeGitLab
    relay: Relay
    role: Ring
    keys: Keys
    folder: Path

    def config(self, name: str, *, every: str, listen: str = "127.0.0.1:0") -> Path:
        """Write the configuration of an installation that asks so often, and takes webhooks."""
        home = self.folder / name
        home.mkdir()
        for secret, text in (("token", self.gitlab.token), ("signing", SIGNING_TOKEN)):
            (home / secret).write_text(text)
            (home / secret).chmod(0o600)
        return write_config(
            home,
            role_home=self.role.home,
            role_key=self.keys.role_fpr,
            relay_port=self.relay.port,
            more=f"""[lookup]
network = false

[conversation]
every = "{every}"

[web]
listen = "{listen}"

[trackers.main]
kind = "gitlab"
url = "{self.gitlab.url}"
token_file = "token"
webhook_signing_token_file = "signing"
settle = "0s"
""",
            alias=f'tracker = "main"\nproject = "{self.gitlab.project}"',
        )

    def file_a_report(self, config: Path, daemon: RunningDaemon) -> None:
        """Hand in a report, and wait for its issue and its answer."""
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=PATIENCE) as client:
            client.sendmail(REPORTER, [ROLE], plain_report().as_bytes())
        wait_until(lambda: states(config) == ["done"], "not done", beside=[daemon])

    def replies(self) -> list[str]:
        """Return what the issue was told of commands."""
        bodies = [str(note["body"]) for note in self.gitlab.notes(1)]
        return [body for body in bodies if "What can be asked" in body]

    def wait_for_a_reply(self, daemon: RunningDaemon, count: int) -> None:
        """Wait until so many commands have their answer."""
        wait_until(lambda: len(self.replies()) >= count, "no answer", beside=[daemon])


@pytest.fixture
def place(keys: Keys, role_ring: Ring, tmp_path: Path) -> Iterator[Place]:
    """Start the GitLab and the relay."""
    with FakeGitLab.start() as gitlab, relay_in_thread() as relay:
        yield Place(gitlab, relay, role_ring, keys, tmp_path)


def hooks_of(daemon: RunningDaemon) -> str:
    """Return where the daemon takes webhooks, as its log says."""
    address = str(daemon.wait_for("daemon.started")["listeners"][-1])
    assert address.startswith("http://127.0.0.1:")
    return f"{address}/hooks/main"


def test_a_webhook_is_enough_and_so_is_asking_and_both_are_one(place: Place) -> None:
    """Asked every hour, a command is done at once; without webhooks it is done; never twice."""
    config = place.config("hourly", every="1h")
    with RunningDaemon(config) as daemon:
        place.file_a_report(config, daemon)
        url = hooks_of(daemon)
        place.gitlab.hook_to(url, "gitlab-signed")
        place.gitlab.write(1, "sb: help")
        place.wait_for_a_reply(daemon, 1)
        assert hooking.knock(url, hooking.gitlab(b"{}"), b"{}") == 404
        daemon.wait_for("web.refused", reason="no-signature", peer="127.0.0.1")
        place.gitlab.hook_to(url, "gitlab-signed", times=3)
        place.gitlab.write(1, "sb: help", author=1)
        place.wait_for_a_reply(daemon, 2)
        assert place.gitlab.hooked() == [204] * 4
        assert daemon.terminate() == 0
    assert len(place.replies()) == 2

    often = config.read_text().replace('every = "1h"', 'every = "200ms"')
    config.write_text(often)
    with RunningDaemon(config, argv=("-m", "secbridge", "work")) as daemon:
        daemon.wait_for("daemon.started")
        place.gitlab.settings(hook={})
        place.gitlab.write(1, "sb: help")
        place.wait_for_a_reply(daemon, 3)  # its webhook was lost: we asked
        place.gitlab.hook_to(hooks_of(daemon), "gitlab-signed", times=2)
        place.gitlab.write(1, "sb: help")
        place.wait_for_a_reply(daemon, 4)
        place.gitlab.write(1, "a remark")
        daemon.wait_for("web.hinted", tracker="main", outcome="looking", count=4)
        assert daemon.terminate() == 0
    assert len(place.replies()) == 4
    assert "sb: help" not in "".join(daemon.raw_log)


def test_a_port_in_use_keeps_tokens_from_starting_and_mail_from_nothing(place: Place) -> None:
    """Exit status 78, the setting and the mend; the half that takes mail has no webhooks at all."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        config = place.config("taken", every="1h", listen=listen)
        with RunningDaemon(config, argv=("-m", "secbridge", "listen")) as half:
            (only,) = half.wait_for("daemon.started")["listeners"]
            assert str(only).startswith("smtp://")
            assert half.terminate() == 0
        daemon = RunningDaemon(config)
        daemon.start(ready=False)
        assert daemon.wait() == 78
    assert "web.listen: cannot be opened (Address already in use)" in "".join(daemon.raw_log)

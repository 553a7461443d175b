"""What if it is we who are broken?  The mail waits, the operator is called, nobody hears a lie.

Each test breaks one thing of a real daemon from outside, as life does, and mends it again: the
disk, the store, gpg's agent, the key ring, the relay, the configuration, and the daemon itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from tests.support.apart import freeze
from tests.support.hostile import CANARY, DOMAIN, specimens
from tests.support.keys import REPORTER, ROLE, Keys, Ring
from tests.support.ports import reserved_port
from tests.support.relay import Relay, relay_in_thread
from tests.support.reports import CANARY as GOOD_CANARY
from tests.support.reports import report_of
from tests.support.running import PATIENCE, RunningDaemon, command, lines_of_json, write_config
from tests.support.village import in_hand, issue_numbers, states, wait_until

BOARD = "board@example.org"
KILLED = 128 + signal.SIGTERM
SOON = {
    "SECBRIDGE_RETRY__FIRST": "100ms",
    "SECBRIDGE_RETRY__MAXIMUM": "200ms",
    "SECBRIDGE_SUBMISSION__RETRY_FIRST": "100ms",
    "SECBRIDGE_SUBMISSION__RETRY_MAXIMUM": "200ms",
}
"""Waits that a test can sit out."""


@dataclass
class Gate:
    """A gpg of our own that waits while the gate is shut."""

    folder: Path
    script: Path = field(init=False)

    def __post_init__(self) -> None:
        """Write the script; the gate is open."""
        self.script = self.folder / "gpg"
        real = shutil.which("gpg")
        self.script.write_text(
            f'#!/bin/sh\nwhile [ -e "{self.shut_file}" ]; do sleep 0.02; done\nexec {real} "$@"\n'
        )
        self.script.chmod(0o700)

    @property
    def shut_file(self) -> Path:
        """The file whose presence shuts the gate."""
        return self.folder / "shut"

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Shut the gate, and open it at the end whatever happens."""
        self.shut_file.touch()
        try:
            yield
        finally:
            self.open()

    def open(self) -> None:
        """Let everybody through."""
        self.shut_file.unlink(missing_ok=True)


@dataclass
class House:
    """One installation with its ring, its gate and its relay."""

    config: Path
    role: Ring
    keys: Keys
    relay: Relay
    gate: Gate

    def daemon(self, **environment: str) -> RunningDaemon:
        """Return the daemon, not yet started."""
        chosen = {**SOON, "SECBRIDGE_OPENPGP__GPG": str(self.gate.script), **environment}
        return RunningDaemon(self.config, environment=chosen)

    def report(self) -> bytes:
        """Return a good report, a new one each time."""
        return report_of(self.keys)

    def wait_for_states(self, daemon: RunningDaemon, *wanted: str) -> None:
        """Wait until the deliveries are in these states."""
        wait_until(lambda: states(self.config) == list(wanted), f"never {wanted}", beside=[daemon])

    def wait_for_work(self, daemon: RunningDaemon, database: Path | None = None) -> None:
        """Wait until a mail is under way, behind the gate.

        A gpg that waits there proves nothing: at the start each role key is tried as well.
        """
        wait_until(lambda: in_hand(self.config, database) > 0, "nobody works", beside=[daemon])

    def told(self) -> list[str]:
        """Return to whom something went."""
        return sorted(recipient for mail in self.relay.taken for recipient in mail.recipients)


@pytest.fixture
def house(keys: Keys, role_ring: Ring, tmp_path: Path) -> Iterator[House]:
    """Return an installation with a ring that may be broken, and a relay that works."""
    with relay_in_thread() as relay:
        config = write_config(
            tmp_path, role_home=role_ring.home, role_key=keys.role_fpr, relay_port=relay.port
        )
        yield House(config, role_ring, keys, relay, Gate(tmp_path))


def hand_in(port: int, content: bytes) -> tuple[int, str]:
    """Hand a mail to the daemon and return what it said to the whole of it."""
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.ehlo()
        client.mail(REPORTER)
        client.rcpt(ROLE)
        code, text = client.data(content)
        return code, text.decode()


# ── Stopping ─────────────────────────────────────────────────────────────────────────────────────


def test_sigterm_in_the_middle_of_work_finishes_it(house: House) -> None:
    """What is under way is filed and answered before the end; nobody comes in meanwhile; exit 0."""
    with house.gate.shut(), house.daemon() as daemon:
        port = daemon.port
        hand_in(port, house.report())
        house.wait_for_work(daemon)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for("daemon.stopping")
        wait_until(lambda: not _lets_in(port), "the door stays open", beside=[daemon])
        house.gate.open()
        assert 0 == daemon.wait()
        daemon.wait_for("daemon.stopped")
    assert states(house.config)[0] in {"answered", "done"}
    with house.daemon() as again:
        house.wait_for_states(again, "done")
        assert 0 == again.terminate()
    assert [1] == issue_numbers(house.config)
    assert sorted([REPORTER, ROLE]) == house.told()


def test_a_second_sigterm_leaves_at_once_and_nothing_is_lost(house: House) -> None:
    """The work under way is given up, and done by the next daemon, once."""
    with house.gate.shut(), house.daemon() as daemon:
        hand_in(daemon.port, house.report())
        house.wait_for_work(daemon)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for("daemon.stopping")
        daemon.process.send_signal(signal.SIGTERM)
        assert KILLED == daemon.wait()
    with house.daemon() as again:
        house.wait_for_states(again, "done")
        assert 0 == again.terminate()
    assert [1] == issue_numbers(house.config)
    assert sorted([REPORTER, ROLE]) == house.told()


def _lets_in(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as client:
        return client.recv(3) == b"220"
    return False


# ── The store ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Return a file system of its own, where we may mount one."""
    place = Path(tempfile.mkdtemp(prefix="sb", dir="/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=128m,mode=0700", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        place.rmdir()
        pytest.skip("no right to mount a small file system here")
    yield place
    subprocess.run(["umount", str(place)], check=True)  # noqa: S607 - as mount
    place.rmdir()


def _fill(disk: Path) -> Path:
    """Fill a disk to its last octet and return the file that does."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


def test_a_full_disk_refuses_for_now_and_loses_nothing(house: House, small_disk: Path) -> None:
    """452 4.3.1 while it is full; what was accepted before waits; with room again all goes on."""
    database = small_disk / "state" / "db.sqlite"
    with house.daemon(SECBRIDGE_DAEMON__DATABASE=str(database)) as daemon:
        with house.gate.shut():
            assert 250 == hand_in(daemon.port, house.report())[0]
            house.wait_for_work(daemon, database)
            ballast = _fill(small_disk)
            code, text = hand_in(daemon.port, house.report())
            assert (452, "4.3.1") == (code, text[:5])
            assert 452 == hand_in(daemon.port, b"Subject: small\r\n\r\n")[0]
        daemon.wait_for("fault", kind="store-full")
        assert [] == house.told()
        ballast.unlink()
        daemon.wait_for("mail.sent", count=2)
        assert 250 == hand_in(daemon.port, house.report())[0]
        daemon.wait_for("mail.sent", count=4)
        assert 0 == daemon.terminate()
    _keeps_silent(daemon)


def test_a_store_that_another_process_holds_refuses_for_now(house: House) -> None:
    """451 4.3.0 to the client, whose mail is taken later; the work under way waits and goes on."""
    with house.daemon() as daemon:
        with house.gate.shut():
            hand_in(daemon.port, house.report())
            house.wait_for_work(daemon)
            database = house.config.parent / "state" / "secbridge.sqlite"
            with closing(sqlite3.connect(database, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                house.gate.open()
                code, text = hand_in(daemon.port, house.report())
                assert (451, "4.3.0") == (code, text[:5])
                other.execute("ROLLBACK")
        assert 250 == hand_in(daemon.port, house.report())[0]
        house.wait_for_states(daemon, "done", "done")
        assert 0 == daemon.terminate()
    _keeps_silent(daemon)


# ── OpenPGP ──────────────────────────────────────────────────────────────────────────────────────


def test_an_agent_that_is_killed_is_started_again(house: House) -> None:
    """SIGKILL to gpg-agent while a mail is being opened: it is opened all the same."""
    with house.daemon() as daemon:
        hand_in(daemon.port, house.report())
        house.wait_for_states(daemon, "done")
        with house.gate.shut():
            hand_in(daemon.port, house.report())
            house.wait_for_work(daemon)
            os.kill(_agent(house.role), signal.SIGKILL)
        house.wait_for_states(daemon, "done", "done")
        assert 0 == daemon.terminate()
    assert ["report", "report"] == _classes(house.config)


def test_an_agent_that_hangs_is_a_deferral_and_no_verdict(house: House) -> None:
    """SIGSTOP to gpg-agent: our time limit, an alarm, nothing told; mended, the mail is opened."""
    with house.daemon(SECBRIDGE_OPENPGP__TIMEOUT="1s") as daemon:
        hand_in(daemon.port, house.report())
        house.wait_for_states(daemon, "done")
        agent = _agent(house.role)
        wait_until(partial(freeze, agent), "the agent does not stop", beside=[daemon])
        before = house.told()
        hand_in(daemon.port, house.report())
        assert "gpg-timeout" == daemon.wait_for("deferred", alarm=True)["why"]
        assert before == house.told()
        os.kill(agent, signal.SIGKILL)
        house.wait_for_states(daemon, "done", "done")
        assert 0 == daemon.terminate()
    assert ["report", "report"] == _classes(house.config)


def _agent(ring: Ring) -> int:
    """Return the process id of a ring's agent."""
    agent = ["gpg-connect-agent", "--homedir", str(ring.home), "--no-autostart"]
    told = subprocess.run(
        [*agent, "getinfo pid", "/bye"], capture_output=True, text=True, check=True
    ).stdout
    return int(told.split()[1])


def _classes(config: Path) -> list[str]:
    return [row["class"] for row in lines_of_json(command(config, "delivery", "list", "--json"))]


Breaking = Callable[[Ring], Callable[[], object]]
"""Breaks a ring and returns what mends it."""


def _moved(name: str) -> Breaking:
    def break_it(ring: Ring) -> Callable[[], object]:
        ring.close_agent()
        hidden = ring.home.with_name(ring.home.name + "-away")
        (ring.home / name).rename(hidden)
        return lambda: _put_back(hidden, ring.home / name)

    return break_it


def _put_back(hidden: Path, place: Path) -> None:
    """Put the true file back, over whatever gpg has made in its place meanwhile."""
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    hidden.rename(place)


def _gone(ring: Ring) -> Callable[[], object]:
    ring.close_agent()
    hidden = ring.home.with_name(ring.home.name + "-away")
    ring.home.rename(hidden)
    return lambda: _put_back(hidden, ring.home)


def _open_to_others(ring: Ring) -> Callable[[], object]:
    ring.home.chmod(0o755)
    return lambda: ring.home.chmod(0o700)


def _garbled(pattern: str) -> Breaking:
    def break_it(ring: Ring) -> Callable[[], object]:
        ring.close_agent()
        kept = {path: path.read_bytes() for path in ring.home.glob(pattern)}
        for path, content in kept.items():
            path.write_bytes(bytes(len(content)))
        return lambda: [path.write_bytes(content) for path, content in kept.items()]

    return break_it


@pytest.mark.parametrize(
    ("when", "breaking"),
    [
        pytest.param("at-work", _gone, id="the-home-goes"),
        pytest.param("at-work", _open_to_others, id="the-home-is-opened-to-others"),
        pytest.param("at-work", _moved("private-keys-v1.d"), id="the-secret-keys-go"),
        pytest.param("at-work", _moved("pubring.kbx"), id="the-certificates-go"),
        pytest.param("at-work", _garbled("private-keys-v1.d/*.key"), id="the-secret-keys-break"),
        pytest.param("at-work", _garbled("pubring.kbx"), id="the-certificates-break"),
        pytest.param("at-the-start", _moved("pubring.kbx"), id="there-are-no-certificates"),
        pytest.param("at-the-start", _moved("private-keys-v1.d"), id="there-are-no-secret-keys"),
    ],
)
def test_a_broken_key_ring_is_ours_to_mend(house: House, when: str, breaking: Breaking) -> None:
    """The mail waits with an alarm; the reporter is told nothing, least of all to use another key.

    Once mended the very same mail is opened, filed and answered.
    """
    with house.daemon() as daemon:
        if when == "at-work":
            hand_in(daemon.port, house.report())
            house.wait_for_states(daemon, "done")
        before = house.told()
        mend = breaking(house.role)
        hand_in(daemon.port, house.report())
        daemon.wait_for("deferred", alarm=True)
        daemon.wait_for("deferred", alarm=True, count=2)
        assert (before, "deferred") == (house.told(), states(house.config)[-1])
        mend()
        wait_until(
            lambda: set(states(house.config)) == {"done"}, "it does not drain", beside=[daemon]
        )
        assert 0 == daemon.terminate()
    assert {"report"} == set(_classes(house.config))
    assert len(before) + 2 == len(house.told())
    _keeps_silent(daemon)


# ── The relay ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def port() -> Iterator[int]:
    """Return a port at which nobody listens but who knows of it."""
    with reserved_port() as kept:
        yield kept


def test_a_relay_that_is_away_gets_the_answers_later(
    keys: Keys, role_ring: Ring, tmp_path: Path, port: int
) -> None:
    """The issue is filed at once; the answers wait, listed, over a restart, and go at last."""
    config = write_config(
        tmp_path, role_home=role_ring.home, role_key=keys.role_fpr, relay_port=port
    )
    with RunningDaemon(config, environment=SOON) as daemon:
        hand_in(daemon.port, report_of(keys))
        daemon.wait_for("deferred", count=3)
        assert (["answered"], [1]) == (states(config), issue_numbers(config))
        (row,) = lines_of_json(command(config, "delivery", "list", "--json"))
        told = lines_of_json(command(config, "delivery", "show", row["id"], "--json"))[0]
        assert {"queued"} == {mail["state"] for mail in told["outgoing"]}
        assert 0 == daemon.terminate()
    with RunningDaemon(config, environment=SOON) as daemon, relay_in_thread(port) as relay:
        wait_until(lambda: states(config) == ["done"], "they do not go", beside=[daemon])
        assert {REPORTER, ROLE} == {one for mail in relay.taken for one in mail.recipients}
        assert 1 == len({_message_id(mail.content) for mail in relay.taken})
        assert 0 == daemon.terminate()
    _keeps_silent(daemon)


FAULTS = (("MAIL", "421 4.3.2 going down"), ("RCPT", "451 4.7.1 greylisted"), ("MAIL", "drop"),
          ("DATA", "452 4.3.1 full"), ("RCPT", "nonsense"), ("DATA", "drop"))  # fmt: skip


def test_a_relay_that_cannot_now_gets_the_answers_later(house: House) -> None:
    """Whatever it says for a while, at whichever command: the answers go when it can."""
    with house.daemon() as daemon:
        for number, (verb, fault) in enumerate(FAULTS):
            house.relay.on = {verb: fault}
            if number == 0:
                hand_in(daemon.port, house.report())
            seen = sum(event["event"] == "deferred" for event in daemon.events)
            daemon.wait_for("deferred", count=seen + 3)  # two mails: one of them saw this fault
        house.relay.on = {}
        house.wait_for_states(daemon, "done")
        assert 0 == daemon.terminate()
    assert {REPORTER, ROLE} == set(house.told())
    assert 1 == len({_message_id(mail.content) for mail in house.relay.taken})
    _keeps_silent(daemon)


def _message_id(content: bytes) -> str:
    lines = content.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return next(line for line in lines if line.startswith(b"Message-ID:")).decode()


# ── LMTP ─────────────────────────────────────────────────────────────────────────────────────────


def test_lmtp_answers_for_each_recipient_of_each_bad_mail(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """Two aliases, one twice, and strangers: a reply for each accepted one, and all end listed."""
    with relay_in_thread() as relay:
        config = write_config(
            tmp_path,
            role_home=role_ring.home,
            role_key=keys.role_fpr,
            relay_port=relay.port,
            intake='smtp = []\nlmtp = ["127.0.0.1:0"]\nmax_size = "8 MiB"',
            alias=f'\n[[alias]]\naddress = "{BOARD}"\nrole_keys = ["{keys.role_fpr}"]\n'
            'assignees = ["alex"]',
        )
        wanted = {"empty", "nul-octets-everywhere", "100-000-parts", "a-line-of-10-mb",
                  "two-hundred-ciphertexts", "the-alias-as-author", "armored-garbage"}  # fmt: skip
        bad = list(specimens(keys, only=wanted))
        assert len(wanted) == len(bad)
        with RunningDaemon(config) as daemon:
            with smtplib.LMTP("127.0.0.1", daemon.port, timeout=PATIENCE) as client:
                for specimen in bad:
                    code = 552 if specimen.name == "a-line-of-10-mb" else 250
                    assert [code] * 3 == _by_lmtp(client, specimen.reverse_path, specimen.content)
            ended = {"done", "answer-held"}  # what came encrypted, without a key to answer to
            wait_until(lambda: set(states(config)) == ended, "some wait", beside=[daemon])
            assert 0 == daemon.terminate()
        rows = lines_of_json(command(config, "delivery", "list", "--json"))
        aliases = [row["alias"] for row in rows]
    assert (6, 6) == (aliases.count(ROLE), aliases.count(BOARD))
    _keeps_silent(daemon)


def _by_lmtp(client: smtplib.SMTP, reverse_path: str, content: bytes) -> list[int]:
    """Hand a mail to three good recipients and two bad ones; return the replies to its end."""
    client.ehlo_or_helo_if_needed()
    client.mail(reverse_path)
    stranger, forged = f"nobody@{DOMAIN}", f"security+sb-{'a' * 26}@example.org"
    recipients = (ROLE, stranger, BOARD, forged, ROLE.upper())
    assert [250, 550, 250, 550, 250] == [client.rcpt(one)[0] for one in recipients]
    replies = [client.data(content), client.getreply(), client.getreply()]
    assert all(text[:2].decode() == f"{code // 100}." for code, text in replies)
    return [code for code, _ in replies]


# ── The configuration ────────────────────────────────────────────────────────────────────────────

SECRET = "Goldhähnchen-4711"
"""Stands where a secret may be mistaken for something else, and is never shown."""

MISTAKES = {
    "no-toml": ("[daemon]", f"{SECRET} = ["),
    "an-unknown-option": ("[retry]", f'[retry]\npassword = "{SECRET}"'),
    "a-size-that-is-none": ("[intake]", f'[intake]\nmax_size = "{SECRET}"'),
    "a-key-that-is-none": ("role_keys = [", f'role_keys = ["{SECRET}", '),
    "a-secret-for-a-file": ("[submission]", f'[submission]\npassword_file = "{SECRET}"'),
    "no-such-tls-key": (
        "[intake]",
        '[intake]\ntls_certificate = "/nonexistent"\ntls_key_file = "/nonexistent"',
    ),
    "no-such-templates": ("assignees", 'templates = "/nonexistent"\nassignees'),
    "the-state-is-a-file": ('/state"', '/secbridge.toml"'),
}
"""What stands in the file, and what a mistaken hand made of it."""


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_a_wrong_configuration_ends_with_78_before_any_socket_opens(
    house: House, mistake: str
) -> None:
    """A text for the operator that shows no value, no traceback, and nobody was at the port.

    The port is taken: had it been tried, that would be the complaint.
    """
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        right = house.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}")
        house.config.write_text(right.replace(*MISTAKES[mistake]))
        daemon = house.daemon()
        daemon.start(ready=False)
        assert 78 == daemon.wait()
    said = "".join(daemon.raw_log)
    assert [] == [word for word in (SECRET, "Traceback", "intake.smtp") if word in said]
    assert "Mend:" in said


def test_a_port_that_is_taken_ends_with_78_too(house: House) -> None:
    """Both settings are named, and what to do."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        right = house.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}")
        house.config.write_text(right)
        daemon = house.daemon()
        daemon.start(ready=False)
        assert 78 == daemon.wait()
    assert "intake.smtp" in "".join(daemon.raw_log)


# ── Silence ──────────────────────────────────────────────────────────────────────────────────────


def _keeps_silent(daemon: RunningDaemon) -> None:
    """Assert that no word of a mail and no address of a reporter is in the log."""
    log = "".join(daemon.raw_log).lower()
    words = (CANARY, GOOD_CANARY, REPORTER, DOMAIN, "Traceback")
    assert [] == [word for word in words if word.lower() in log]

"""Does an answer that was held go out when an operator says which key counts?  The real daemon."""

from __future__ import annotations

import smtplib
from pathlib import Path
from typing import Any

from tests.support.keys import REPORTER, Keys, Ring, copied_ring
from tests.support.mails import encrypted, file, mail, multipart, text
from tests.support.relay import Relay, relay_in_thread
from tests.support.reports import CANARY
from tests.support.running import PATIENCE, RunningDaemon, command, lines_of_json, write_config
from tests.support.village import states, wait_until


def report(ring: Ring, to: str, number: int, *, inside: bytes = b"") -> bytes:
    """Return an encrypted report that brings a certificate, or none."""
    words = text(f"{CANARY}\n")
    content = multipart("mixed", [words, file(inside, "key")], boundary="in") if inside else words
    raw = mail(encrypted(ring.encrypt(content, to)))
    return raw.replace(b"<one@", f"<report-{number}@".encode())


def answers(relay: Relay) -> list[bytes]:
    """Return what went to the reporter, oldest first."""
    return [mail.content for mail in relay.taken if mail.recipients == (REPORTER,)]


def armor_in(content: bytes) -> bytes:
    """Return the ciphertext of an answer."""
    return content[content.index(b"-----BEGIN PGP MESSAGE") :]


def test_what_was_held_goes_out_once_a_person_has_said_which_key_counts(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """First ``key import`` for a reporter without a key, then ``key accept`` of another one."""
    with relay_in_thread() as relay, copied_ring(keys.reporter) as ring:
        config = write_config(
            tmp_path,
            role_home=role_ring.home,
            role_key=keys.role_fpr,
            relay_port=relay.port,
            more="[lookup]\nnetwork = false\n",
        )
        new = ring.make_key(f"Rita new <{REPORTER}>")
        with RunningDaemon(config) as daemon:
            house = _House(config, daemon, relay)
            house.hand_in(report(ring, keys.role_fpr, 1))
            house.settled("answer-held")
            (row,) = house.rows("delivery", "list")
            house.file.write_bytes(keys.reporter_cert)
            (brought,) = house.rows("key", "import", str(house.file), "--case", row["case"])
            assert (row["case"], 1) == (brought["case"], brought["woken"])
            house.settled("done")
            assert b"SB-" in ring.decrypt(armor_in(answers(relay)[-1]))

            house.hand_in(report(ring, keys.role_fpr, 2, inside=ring.export(new)))
            house.settled("answer-held", "done")
            (waiting,) = [row for row in house.rows("key", "show") if row["waiting"]]
            assert (new, "attached-inside") == (waiting["fingerprint"], waiting["source"])
            house.rows("key", "accept", new, "--case", waiting["case"])
            house.settled("done", "done")
            shown = house.rows("key", "show", REPORTER)
            daemon.terminate()
        assert {new} == {row["fingerprint"] for row in shown}
        ring.gpg("--yes", "--delete-secret-and-public-key", keys.reporter_fpr)
        assert b"SB-" in ring.decrypt(armor_in(answers(relay)[-1]))
    assert not [one for one in relay.taken if CANARY.encode() in one.content]
    assert REPORTER not in "".join(daemon.raw_log)


def test_the_team_says_it_in_its_tracker(keys: Keys, role_ring: Ring, tmp_path: Path) -> None:
    """A comment on the issue is enough, and the issue tells what came of it."""
    with relay_in_thread() as relay, copied_ring(keys.reporter) as ring:
        config = write_config(
            tmp_path,
            role_home=role_ring.home,
            role_key=keys.role_fpr,
            relay_port=relay.port,
            more='[lookup]\nnetwork = false\n[conversation]\nevery = "200ms"\n',
        )
        new = ring.make_key(f"Rita new <{REPORTER}>")
        with RunningDaemon(config) as daemon:
            house = _House(config, daemon, relay)
            house.hand_in(report(ring, keys.role_fpr, 1, inside=keys.reporter_cert))
            house.settled("done")
            house.hand_in(report(ring, keys.role_fpr, 2, inside=ring.export(new)))
            house.settled("answer-held", "done")
            command(config, "issue", "comment", "2", f"sb: key accept {new}")
            house.settled("done", "done")
            wait_until(
                lambda: (
                    "From now on the reporter is answered" in command(config, "issue", "show", "2")
                ),
                "the issue does not tell what came of the command",
                beside=[daemon],
            )
            daemon.terminate()
        ring.gpg("--yes", "--delete-secret-and-public-key", keys.reporter_fpr)
        assert b"SB-" in ring.decrypt(armor_in(answers(relay)[-1]))
    assert not [one for one in relay.taken if CANARY.encode() in one.content]


class _House:
    """A running daemon, and the commands that are typed beside it."""

    def __init__(self, config: Path, daemon: RunningDaemon, relay: Relay) -> None:
        self.config, self.daemon, self.relay = config, daemon, relay
        self.file = config.parent / "key.asc"

    def hand_in(self, content: bytes) -> None:
        """Hand a mail in as the relay in front does."""
        with smtplib.SMTP("127.0.0.1", self.daemon.port, timeout=PATIENCE) as client:
            client.sendmail(REPORTER, ["security@example.org"], content)

    def settled(self, *expected: str) -> None:
        """Wait until the reports are in these states, and what was sent has left."""
        wait_until(
            lambda: sorted(states(self.config)) == sorted(expected),
            f"the deliveries are not {expected}",
            beside=[self.daemon],
        )

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what a command prints as JSON."""
        return lines_of_json(command(self.config, *arguments, "--json"))

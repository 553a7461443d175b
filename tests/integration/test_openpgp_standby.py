"""The gpg that waits for the next ciphertext is as good as one that starts for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.keys import Keys, Ring, fresh_ring
from tests.support.village import wait_until

from secbridge.model.message import SignatureVerdict
from secbridge.model.plaintext import Secret
from secbridge.openpgp import GnuPG
from secbridge.openpgp.hardened import HardenedGPG
from secbridge.openpgp.keyring import Keyring
from secbridge.openpgp.opening import Opener
from secbridge.ports import Decrypted

LIMIT = 1 << 20
PASSPHRASE = "correct horse battery staple"
WORDS = b"words of a report\n"


def waiting(home: Path) -> list[int]:
    """Return the processes that are to decrypt something with the ring of this home."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--decrypt" in command and str(home).encode() in command:
            found.append(int(place.name))
    return found


def the_one_that_waits(home: Path) -> int:
    """Return the process that waits; a moment after its start its command line stands nowhere."""
    wait_until(lambda: waiting(home) != [], "no gpg waits")
    (pid,) = waiting(home)
    return pid


def reads_its_input(pid: int) -> bool:
    """Whether a process waits in a system call whose first argument is its standard input."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[1:2] == ["0x0"]


def litter(home: Path) -> list[str]:
    """Return the lock files that gpg leaves behind when it is killed."""
    return [one.name for one in home.glob(".#lk*")]


@pytest.fixture
def gpg(role_ring: Ring) -> Iterator[HardenedGPG]:
    """Return the library's gpg over the ring of the role key."""
    made = HardenedGPG(role_ring.home, "gpg", 60.0, None)
    yield made
    made.close()
    assert ([], []) == (waiting(role_ring.home), litter(role_ring.home))


def opened(gpg: HardenedGPG, ring: Ring, message: bytes, role: str) -> Decrypted:
    """Open a message that can be opened."""
    done = Opener(gpg, Keyring(gpg, ring.home, (role,))).decrypt(message, LIMIT)
    assert isinstance(done, Decrypted)
    return done


def test_the_one_that_waits_opens_the_next_message(
    gpg: HardenedGPG, role_ring: Ring, keys: Keys
) -> None:
    """It is used, once; no second one is started while it waits."""
    message = keys.reporter.encrypt(WORDS, keys.role_fpr)
    gpg.stand_by()
    gpg.stand_by()
    pid = the_one_that_waits(role_ring.home)
    assert WORDS == opened(gpg, role_ring, message, keys.role_fpr).plaintext.content
    assert not Path(f"/proc/{pid}").exists()
    assert WORDS == opened(gpg, role_ring, message, keys.role_fpr).plaintext.content


def test_it_knows_a_key_that_came_while_it_waited(
    gpg: HardenedGPG, role_ring: Ring, keys: Keys
) -> None:
    """A certificate counts as soon as it is there, and what waited gives way to another."""
    message = keys.reporter.encrypt(WORDS, keys.role_fpr, sign=keys.reporter_fpr)
    gpg.stand_by()
    (before,) = opened(gpg, role_ring, message, keys.role_fpr).signatures
    gpg.stand_by()
    role_ring.take(keys.reporter_cert)
    (after,) = opened(gpg, role_ring, message, keys.role_fpr).signatures
    assert (SignatureVerdict.UNKNOWN_KEY, SignatureVerdict.GOOD) == (before.verdict, after.verdict)


def test_it_knows_a_key_that_went_while_it_waited(
    gpg: HardenedGPG, role_ring: Ring, keys: Keys
) -> None:
    """A certificate that is no longer there vouches for nobody."""
    message = keys.reporter.encrypt(WORDS, keys.role_fpr, sign=keys.reporter_fpr)
    role_ring.take(keys.reporter_cert)
    gpg.stand_by()
    role_ring.forget(keys.reporter_fpr)
    (after,) = opened(gpg, role_ring, message, keys.role_fpr).signatures
    assert SignatureVerdict.UNKNOWN_KEY is after.verdict


def test_one_that_began_before_a_broken_ring_is_not_used(
    gpg: HardenedGPG, role_ring: Ring, keys: Keys
) -> None:
    """It would do without the key box for ever, and call a sound message undecryptable."""
    message = keys.reporter.encrypt(WORDS, keys.role_fpr)
    box = role_ring.home / "pubring.kbx"
    whole = box.read_bytes()
    box.write_bytes(b"broken" * 1000)
    gpg.stand_by()
    pid = the_one_that_waits(role_ring.home)
    wait_until(lambda: reads_its_input(pid), "it does not wait for its input")
    box.write_bytes(whole)
    assert WORDS == gpg.call("--decrypt", stdin=message, secret=True).output


def test_one_that_was_killed_while_it_waited_is_replaced(
    gpg: HardenedGPG, role_ring: Ring, keys: Keys
) -> None:
    """Nobody notices: the message finds another one."""
    message = keys.reporter.encrypt(WORDS, keys.role_fpr)
    gpg.stand_by()
    pid = the_one_that_waits(role_ring.home)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays to be collected
    assert WORDS == opened(gpg, role_ring, message, keys.role_fpr).plaintext.content
    for left in role_ring.home.glob(".#lk*"):  # of the one that was killed
        left.unlink()


def test_it_has_the_passphrase_of_the_ring() -> None:
    """A role key with a passphrase opens the message as well."""
    with fresh_ring(passphrase=PASSPHRASE) as ring:
        role = ring.make_key("Locked <security@example.org>")
        message = ring.encrypt(WORDS, role)
        ring.close_agent()  # which would remember the passphrase
        gpg = HardenedGPG(ring.home, "gpg", 60.0, Secret(PASSPHRASE))
        gpg.stand_by()
        assert WORDS == opened(gpg, ring, message, role).plaintext.content
        gpg.close()


def test_none_is_started_when_all_is_closed(gpg: HardenedGPG, role_ring: Ring) -> None:
    """A call that comes late leaves nothing behind."""
    gpg.stand_by()
    gpg.close()
    gpg.stand_by()
    assert [] == waiting(role_ring.home)


async def test_the_room_has_one_wait_as_soon_as_a_message_was_opened(
    role_ring: Ring, keys: Keys
) -> None:
    """Only where it was asked for; and none is left when the room is closed."""
    message = keys.reporter.encrypt(WORDS, keys.role_fpr)
    for standby in (False, True):
        gnupg = GnuPG(role_ring.home, role_keys=(keys.role_fpr,), standby=standby, concurrency=1)
        for _ in range(3):
            done = await gnupg.decrypt(message, limit=LIMIT)
            assert isinstance(done, Decrypted)
        await gnupg.certificates_for("nobody@example.net")  # the only thread is free again
        if standby:
            the_one_that_waits(role_ring.home)
        assert standby is (waiting(role_ring.home) != [])
        await gnupg.aclose()
        assert ([], []) == (waiting(role_ring.home), litter(role_ring.home))

"""Faults of ours are Deferrals with an alarm, and never a verdict on the mail."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from tests.support.keys import Keys, Ring, fresh_ring, kill_agents

from secbridge.errors import Deferral
from secbridge.model.message import OpenFailure
from secbridge.model.plaintext import Secret
from secbridge.openpgp import GnuPG
from secbridge.ports import CannotOpen, Decrypted

LIMIT = 1 << 20
MOUNT = shutil.which("mount") or "mount"
UMOUNT = shutil.which("umount") or "umount"
PASSPHRASE = "correct horse battery staple"


async def fault(gnupg: GnuPG, message: bytes) -> tuple[str, bool]:
    """Return the code and the alarm of the Deferral that a decryption ends with."""
    with pytest.raises(Deferral) as caught:
        await gnupg.decrypt(message, limit=LIMIT)
    await gnupg.aclose()
    return caught.value.code, caught.value.alarm


@pytest.fixture(scope="module")
def locked() -> Iterator[tuple[Ring, str]]:
    """Return a ring whose role key has a passphrase, and its fingerprint."""
    with fresh_ring(passphrase=PASSPHRASE) as ring:
        yield ring, ring.make_key("Locked <security@example.org>")


@contextmanager
def gpg_script(prologue: str) -> Iterator[Path]:
    """Give a script that does something first, and is gpg then."""
    with tempfile.TemporaryDirectory(prefix="sb", dir="/tmp") as place:
        script = Path(place) / "gpg"
        script.write_text(f'#!/bin/sh\n{prologue}\nexec {shutil.which("gpg")} "$@"\n')
        script.chmod(0o700)
        yield script


def when_decrypting(body: str) -> AbstractContextManager[Path]:
    """Give a script that is gpg, but that runs ``body`` when it is asked to decrypt."""
    return gpg_script(f'case " $* " in *" --decrypt "*) {body};; esac')


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Return a private directory with a file system of 128 KiB of its own."""
    home = Path(tempfile.mkdtemp(prefix="sb", dir="/tmp"))
    options = ["-t", "tmpfs", "-o", "size=128k,mode=700", "none", str(home)]
    try:
        if subprocess.run([MOUNT, *options], capture_output=True, check=False).returncode != 0:
            pytest.skip("no right to mount a small file system here")
        yield home
        kill_agents(home)
        subprocess.run([UMOUNT, "-l", str(home)], check=True)
    finally:
        home.rmdir()


def exists(path: Path) -> bool:
    """Whether there is anything at a path."""
    return path.exists()


def is_alive(note: Path) -> bool:
    """Whether the process whose id a file holds is still there; without a file there was none."""
    return note.exists() and Path(f"/proc/{note.read_text().strip()}").exists()


def files_below(place: Path) -> list[Path]:
    """Return all files in a directory and below it."""
    return [path for path in place.rglob("*") if path.is_file()]


def fill_up(home: Path) -> None:
    """Leave no room on the disk of a directory."""
    with suppress(OSError), (home / "fill").open("wb", buffering=0) as fill:
        while True:
            fill.write(b"\0" * 4096)


class TestPassphrase:
    """A role key with a passphrase."""

    async def test_the_right_passphrase_opens_and_signs(
        self, locked: tuple[Ring, str], keys: Keys
    ) -> None:
        """Given by its own pipe, the passphrase opens messages, hidden ones too, and signs."""
        ring, role = locked
        kill_agents(ring.home)
        gnupg = GnuPG(ring.home, role_keys=[role], passphrase=Secret(PASSPHRASE))
        named = await gnupg.decrypt(ring.encrypt(b"text", role), limit=LIMIT)
        hidden = await gnupg.decrypt(ring.encrypt(b"text", role, hidden=True), limit=LIMIT)
        signed = await gnupg.sign_detached(b"text", signer=role)
        await gnupg.aclose()
        assert isinstance(named, Decrypted)
        assert isinstance(hidden, Decrypted)
        assert (hidden.plaintext.content, signed.micalg) == (b"text", "pgp-sha512")

    @pytest.mark.parametrize("hidden", [True, False])
    @pytest.mark.parametrize("passphrase", [None, Secret("wrong")])
    async def test_a_wrong_or_missing_passphrase_is_our_fault(
        self, locked: tuple[Ring, str], hidden: bool, passphrase: Secret | None
    ) -> None:
        """Even where gpg says "no secret key", as it does for hidden recipients."""
        ring, role = locked
        message = ring.encrypt(b"text", role, hidden=hidden)
        kill_agents(ring.home)
        gnupg = GnuPG(ring.home, role_keys=[role], passphrase=passphrase)
        assert await fault(gnupg, message) == ("gpg-passphrase", True)

    async def test_a_wrong_passphrase_cannot_sign(self, locked: tuple[Ring, str]) -> None:
        """Signing and encrypting with a locked key are Deferrals, too."""
        ring, role = locked
        kill_agents(ring.home)
        gnupg = GnuPG(ring.home, role_keys=[role], passphrase=Secret("wrong"))
        codes = []
        for work in (
            gnupg.sign_detached(b"text", signer=role),
            gnupg.encrypt_and_sign(b"text", recipients=[role], signer=role),
        ):
            with pytest.raises(Deferral) as caught:
                await work
            codes.append(caught.value.code)
        await gnupg.aclose()
        assert codes == ["gpg-passphrase", "gpg-passphrase"]

    async def test_the_role_passphrase_is_not_tried_on_a_strangers_message(
        self, locked: tuple[Ring, str]
    ) -> None:
        """A message for a password is refused, even when the password is ours."""
        ring, role = locked
        gnupg = GnuPG(ring.home, role_keys=[role], passphrase=Secret(PASSPHRASE))
        message = ring.encrypt_with_password(b"text", PASSPHRASE)
        found = await gnupg.decrypt(message, limit=LIMIT)
        await gnupg.aclose()
        assert CannotOpen(OpenFailure.SYMMETRIC_ONLY) == found

    async def test_a_message_to_others_needs_no_passphrase(
        self, locked: tuple[Ring, str], keys: Keys
    ) -> None:
        """What is encrypted to somebody else is no fault of ours, whatever our passphrase."""
        ring, role = locked
        gnupg = GnuPG(ring.home, role_keys=[role], passphrase=Secret("wrong"))
        message = keys.stranger.encrypt(b"text", keys.stranger_fpr)
        found = await gnupg.decrypt(message, limit=LIMIT)
        await gnupg.aclose()
        assert CannotOpen(OpenFailure.NO_SECRET_KEY) == found


class TestHome:
    """The directory of the key ring."""

    async def test_a_missing_home(self, keys: Keys) -> None:
        """A home that is not there is our fault, and is not created."""
        home = Path("/tmp/sb-there-is-no-such-home")
        message = keys.reporter.encrypt(b"text", keys.role_fpr)
        assert await fault(GnuPG(home, role_keys=[keys.role_fpr]), message) == ("gpg-home", True)
        assert not exists(home)

    async def test_a_home_that_others_can_look_into(self, role_ring: Ring, keys: Keys) -> None:
        """A home with a loose mode is not used."""
        role_ring.home.chmod(0o755)
        message = keys.reporter.encrypt(b"text", keys.role_fpr)
        gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr])
        assert await fault(gnupg, message) == ("gpg-home", True)

    async def test_a_home_that_vanishes_while_we_run(self, role_ring: Ring, keys: Keys) -> None:
        """A home that was there a moment ago is looked at before each call."""
        message = keys.reporter.encrypt(b"text", keys.role_fpr)
        gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr])
        assert isinstance(await gnupg.decrypt(message, limit=LIMIT), Decrypted)
        role_ring.close()
        assert await fault(gnupg, message) == ("gpg-home", True)

    @pytest.mark.parametrize("hidden", [True, False])
    async def test_a_lost_secret_key(self, role_ring: Ring, keys: Keys, hidden: bool) -> None:
        """A message to our own key that the ring lost is kept, not called undecryptable."""
        message = keys.reporter.encrypt(b"text", keys.role_fpr, hidden=hidden)
        role_ring.forget(keys.role_fpr, secret_only=True)
        gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr])
        assert await fault(gnupg, message) == ("gpg-home", True)

    async def test_a_ring_without_the_role_key(self, empty_ring: Ring, keys: Keys) -> None:
        """With nothing in the ring, nothing is said about any mail."""
        for to in (keys.role_fpr, keys.reporter_fpr):
            message = keys.reporter.encrypt(b"text", to)
            gnupg = GnuPG(empty_ring.home, role_keys=[keys.role_fpr])
            assert await fault(gnupg, message) == ("gpg-home", True)

    async def test_a_full_disk(self, small_disk: Path, keys: Keys) -> None:
        """A certificate that cannot be written is a Deferral."""
        Ring(small_disk).take(keys.role.export_secret(keys.role_fpr))
        fill_up(small_disk)
        gnupg = GnuPG(small_disk, role_keys=[keys.role_fpr])
        with pytest.raises(Deferral) as caught:
            await gnupg.import_certificate(keys.reporter_cert, address="reporter@example.net")
        await gnupg.aclose()
        assert (caught.value.code, caught.value.alarm) == ("gpg-disk-full", True)


class TestAgent:
    """gpg-agent keeps the secret keys."""

    @pytest.mark.parametrize("hidden", [True, False])
    async def test_an_agent_that_does_not_start(
        self, role_ring: Ring, keys: Keys, hidden: bool
    ) -> None:
        """Gpg says "no secret key" without its agent; the key's file says otherwise."""
        message = keys.reporter.encrypt(b"text", keys.role_fpr, hidden=hidden)
        kill_agents(role_ring.home)
        with gpg_script('set -- --agent-program /nonexistent "$@"') as binary:
            gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr], binary=str(binary))
            assert await fault(gnupg, message) == ("gpg-agent", True)

    async def test_a_damaged_secret_key(self, role_ring: Ring, keys: Keys) -> None:
        """A key file that the agent cannot read is our fault."""
        message = keys.reporter.encrypt(b"text", keys.role_fpr)
        kill_agents(role_ring.home)
        for path in (role_ring.home / "private-keys-v1.d").iterdir():
            path.write_bytes(b"damaged")
        gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr])
        assert await fault(gnupg, message) == ("gpg-agent", True)

    @pytest.mark.parametrize("hidden", [True, False])
    async def test_an_agent_that_dies_over_a_message_is_no_verdict_on_it(
        self, role_ring: Ring, keys: Keys, hidden: bool, tmp_path: Path
    ) -> None:
        """Gpg says "no secret key"; the next agent has it, and opens the same message."""
        message = keys.reporter.encrypt(b"text", keys.role_fpr, hidden=hidden)
        kill_agents(role_ring.home)
        died = tmp_path / "died"
        dies = f'[ -e {died} ] || {{ : > {died}; set -- --agent-program /nonexistent "$@"; }}'
        with when_decrypting(dies) as binary:
            gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr], binary=str(binary))
            found = await gnupg.decrypt(message, limit=LIMIT)
            await gnupg.aclose()
        assert isinstance(found, Decrypted)
        assert (b"text", True) == (found.plaintext.content, exists(died))

    async def test_a_killed_agent_comes_back(self, role_ring: Ring, keys: Keys) -> None:
        """Gpg starts its agent again; nobody notices."""
        message = keys.reporter.encrypt(b"text", keys.role_fpr)
        gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr])
        found = []
        for _ in range(2):
            found.append(await gnupg.decrypt(message, limit=LIMIT))
            kill_agents(role_ring.home)
        await gnupg.aclose()
        assert [isinstance(it, Decrypted) for it in found] == [True, True]


class TestProcess:
    """The gpg process itself."""

    async def test_no_gpg(self, role_ring: Ring, keys: Keys) -> None:
        """A program that is not there, or may not be run, is our fault."""
        message = keys.reporter.encrypt(b"text", keys.role_fpr)
        for binary in ("/nonexistent/gpg", "/etc/hostname"):
            gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr], binary=binary)
            assert await fault(gnupg, message) == ("gpg-missing", True)

    async def test_a_killed_gpg(self, role_ring: Ring, keys: Keys) -> None:
        """A gpg that somebody kills has said nothing about the mail."""
        message = keys.reporter.encrypt(b"text", keys.role_fpr)
        with when_decrypting("kill -KILL $$") as binary:
            gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr], binary=str(binary))
            assert await fault(gnupg, message) == ("gpg-killed", True)

    async def test_a_stalled_gpg_is_killed_at_the_time_limit(
        self, role_ring: Ring, keys: Keys
    ) -> None:
        """A gpg that hangs is ended; the mail waits."""
        message = keys.reporter.encrypt(b"text", keys.role_fpr)
        note = role_ring.home / "pid"
        with when_decrypting(f"echo $$ > {note}; exec sleep 600") as binary:
            gnupg = GnuPG(
                role_ring.home, role_keys=[keys.role_fpr], binary=str(binary), timeout=3.0
            )
            assert await fault(gnupg, message) == ("gpg-timeout", True)
        assert not is_alive(note)

    async def test_a_cancelled_call_kills_its_gpg(self, role_ring: Ring, keys: Keys) -> None:
        """When the caller gives up, no process stays behind."""
        message = keys.reporter.encrypt(b"text", keys.role_fpr)
        note = role_ring.home / "pid"
        os.mkfifo(note)
        with when_decrypting(f"echo $$ > {note}; exec sleep 600") as binary:
            gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr], binary=str(binary))
            call = asyncio.create_task(gnupg.decrypt(message, limit=LIMIT))
            pid = int(await asyncio.to_thread(note.read_text))
            pidfd = os.pidfd_open(pid)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            ended, _, _ = await asyncio.to_thread(select.select, [pidfd], [], [], 60)
            os.close(pidfd)
            await gnupg.aclose()
        assert [pidfd] == ended

    async def test_many_at_once_are_all_answered(self, role_ring: Ring, keys: Keys) -> None:
        """More calls than threads wait for their turn."""
        gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr], concurrency=2)
        texts = [f"text {number}".encode() for number in range(8)]
        messages = [keys.reporter.encrypt(text, keys.role_fpr) for text in texts]
        found = await asyncio.gather(*(gnupg.decrypt(it, limit=LIMIT) for it in messages))
        await gnupg.aclose()
        assert texts == [it.plaintext.content for it in found if isinstance(it, Decrypted)]


async def test_no_plaintext_is_left_on_the_disk(
    role_ring: Ring, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the home nor the directory for temporary files holds a word of what was handled."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    canary = b"canary-word-of-the-report"
    gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr])
    message = keys.reporter.encrypt(canary, keys.role_fpr, sign=keys.reporter_fpr)
    signature = keys.reporter.sign_detached(canary, keys.reporter_fpr)
    await gnupg.import_certificate(keys.reporter_cert, address="reporter@example.net")
    await gnupg.decrypt(message, limit=LIMIT)
    await gnupg.decrypt(message, limit=3)
    await gnupg.verify_detached(signature, canary)
    await gnupg.encrypt_and_sign(canary, recipients=[keys.role_fpr], signer=keys.role_fpr)
    await gnupg.sign_detached(canary, signer=keys.role_fpr)
    await gnupg.unseal(await gnupg.seal(canary, recipients=[keys.role_fpr]))
    await gnupg.aclose()
    files = files_below(role_ring.home)
    assert [path.name for path in files if canary in path.read_bytes()] == []
    assert files_below(tmp_path) == []


async def test_the_passphrase_is_in_no_command_line(locked: tuple[Ring, str]) -> None:
    """What ``ps`` shows to everybody holds no secret."""
    ring, role = locked
    message = ring.encrypt(b"text", role)
    note = ring.home / "arguments"
    with when_decrypting(f'tr "\\0" " " < /proc/$$/cmdline > {note}; env >> {note}') as binary:
        gnupg = GnuPG(
            ring.home, role_keys=[role], binary=str(binary), passphrase=Secret(PASSPHRASE)
        )
        found = await gnupg.decrypt(message, limit=LIMIT)
        await gnupg.aclose()
    assert isinstance(found, Decrypted)
    assert "--passphrase-fd" in note.read_text()
    assert PASSPHRASE not in note.read_text()

"""A key ring that must not be written to is used by way of a copy."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.support.keys import Keys, Ring

from secbridge.errors import Deferral
from secbridge.mail.armor import OpenPGPKind, blocks
from secbridge.openpgp import GnuPG, scratch_copy
from secbridge.ports import Decrypted, OpenPGP


def snapshot(home: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, time and content of everything in a directory."""
    found = {}
    for path in sorted(home.rglob("*")):
        about = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        found[str(path)] = (about.st_mode, about.st_mtime_ns, content)
    return found


async def test_a_copy_opens_and_its_source_is_untouched(role_ring: Ring, keys: Keys) -> None:
    """Decrypting, importing and signing in the copy leave no trace in the home."""
    message = keys.reporter.encrypt(b"text", keys.role_fpr)
    role_ring.close_agent()
    before = snapshot(role_ring.home)
    with scratch_copy(role_ring.home) as home:
        mode = stat.S_IMODE(home.stat().st_mode)
        gnupg = GnuPG(home)
        port: OpenPGP = gnupg  # the type checker holds it to the port
        opened = await port.decrypt(message, limit=1000)
        await gnupg.import_certificate(keys.reporter_cert, address="reporter@example.net")
        await gnupg.aclose()
    assert isinstance(opened, Decrypted)
    assert (b"text", 0o700) == (opened.plaintext.content, mode)
    assert before == snapshot(role_ring.home)
    assert snapshot(home) == {}


async def test_sockets_locks_and_seed_stay_behind(role_ring: Ring) -> None:
    """The copy holds keys, and nothing of the processes that use the home."""
    role_ring.gpg("--list-secret-keys")
    (role_ring.home / "random_seed").write_bytes(b"seed")
    (role_ring.home / "gpg.conf").write_text("no-such-option\n")
    (role_ring.home / "pubring.kbx.lock").write_bytes(b"")
    with scratch_copy(role_ring.home) as home:
        found = {path.name for path in home.iterdir()}
    assert found <= {"pubring.kbx", "trustdb.gpg", "private-keys-v1.d", "gpg-agent.conf"}
    assert {"pubring.kbx", "private-keys-v1.d"} <= found


def test_a_home_that_is_not_there_is_our_fault(tmp_path: Path) -> None:
    """A directory that cannot be read is a Deferral, and leaves no copy."""
    with pytest.raises(Deferral) as caught, scratch_copy(tmp_path / "missing"):
        pass
    assert caught.value.code == "gpg-home"


async def test_a_legacy_secret_ring_is_migrated_in_the_copy(shared: Path) -> None:
    """Keys that others keep in ``secring.gpg`` open their mails; the folder stays as it is."""
    corpus = shared / "corpus" / "openpgp-mime"
    before = snapshot(corpus / "gnupg_home")
    with scratch_copy(corpus / "gnupg_home") as home:
        gnupg = GnuPG(home)
        opened = []
        for name in ("openpgp-signed-encrypted", "openpgp-encrypted+signed", "inlinepgpencrypted"):
            mail = (corpus / "mails" / f"{name}.mbox").read_bytes()
            (block,) = (it for it in blocks(mail) if it.kind is OpenPGPKind.MESSAGE)
            opened.append(await gnupg.decrypt(mail[block.start : block.end], limit=1 << 20))
        await gnupg.aclose()
    assert [True, True, True] == [isinstance(it, Decrypted) for it in opened]
    assert before == snapshot(corpus / "gnupg_home")

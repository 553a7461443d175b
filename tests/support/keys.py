"""Throw-away OpenPGP keys for tests: raw gpg with short home directories, never our own code.

``Ring`` drives one GNUPGHOME as a stranger's mail program would; the session's rings are made once
(fixtures in ``tests/conftest.py``) and every test that writes gets its own copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROLE = "security@example.org"
REPORTER = "reporter@example.net"

_OPTIONS = ("--batch", "--no-tty", "--quiet", "--no-options", "--disable-dirmngr",
            "--trust-model", "always", "--pinentry-mode", "loopback")  # fmt: skip
_GPG = shutil.which("gpg") or "gpg"
_GPGCONF = shutil.which("gpgconf") or "gpgconf"
_LEFT_BEHIND = shutil.ignore_patterns("S.*", "*.lock", ".#*", "random_seed")


class GpgError(AssertionError):
    """The raw gpg of a test did not do what the test needs; tests hold no secrets, so tell all."""


class Ring:
    """One GNUPGHOME, driven by raw gpg."""

    def __init__(self, home: Path, *, passphrase: str = "") -> None:
        self.home = home
        self.passphrase = passphrase

    def gpg(
        self, *args: str, stdin: bytes = b"", ok: Sequence[int] = (0,), at: str | None = None
    ) -> bytes:
        """Run gpg and return its stdout.  ``at`` fakes the time (``20200101T120000``)."""
        faked = ["--faked-system-time", f"{at}!"] if at else []
        command = [_GPG, "--homedir", str(self.home), *_OPTIONS, "--passphrase", self.passphrase]
        done = subprocess.run(
            [*command, *faked, *args],
            input=stdin, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        if done.returncode not in ok:
            raise GpgError(f"{args}: {done.returncode}\n{done.stderr.decode(errors='replace')}")
        return done.stdout

    def make_key(
        self, uid: str, *, algo: str = "ed25519", expire: str = "0", encrypts: bool = True,
        subkey_expire: str | None = None, at: str | None = None,
    ) -> str:  # fmt: skip
        """Make a key and return its fingerprint.

        ``algo``: ``ed25519`` (with cv25519) or ``rsa2048`` and the like; ``expire`` as gpg takes
        it (``0`` never, ``1y``, ``seconds=10``); without ``encrypts`` it can only sign.
        """
        before = set(self.fingerprints())
        if self.passphrase:  # a low count keeps tests fast, and a random passphrase loses nothing
            (self.home / "gpg-agent.conf").write_text("s2k-count 65536\n")
        self.gpg("--quick-gen-key", uid, algo, "cert,sign", expire, at=at)
        (fingerprint,) = set(self.fingerprints()) - before
        if encrypts:
            self.add_subkey(fingerprint, algo=algo, expire=subkey_expire or expire, at=at)
        return fingerprint

    def add_subkey(
        self, fingerprint: str, *, algo: str = "ed25519", expire: str = "0", at: str | None = None
    ) -> str:
        """Add an encryption subkey and return its fingerprint."""
        before = set(self.subkeys(fingerprint))
        usage = "cv25519" if algo == "ed25519" else algo
        self.gpg("--quick-add-key", fingerprint, usage, "encr", expire, at=at)
        (subkey,) = set(self.subkeys(fingerprint)) - before
        return subkey

    def fingerprints(self) -> tuple[str, ...]:
        """Return the primary fingerprints of all certificates in the ring."""
        return tuple(primary for primary, _ in self._listed())

    def subkeys(self, fingerprint: str) -> tuple[str, ...]:
        """Return the fingerprints of the subkeys of a certificate, oldest first."""
        return next((subs for primary, subs in self._listed() if primary == fingerprint), ())

    def _listed(self) -> list[tuple[str, tuple[str, ...]]]:
        found: list[tuple[str, tuple[str, ...]]] = []
        kind = b""
        listing = self.gpg("--list-keys", "--with-colons", "--fingerprint", "--fingerprint")
        for line in listing.split(b"\n"):
            fields = line.split(b":")
            kind = fields[0] if fields[0] in (b"pub", b"sub") else kind
            if fields[0] == b"fpr" and kind == b"pub":
                found.append((fields[9].decode(), ()))
            elif fields[0] == b"fpr":
                found[-1] = (found[-1][0], (*found[-1][1], fields[9].decode()))
        return found

    def export(self, fingerprint: str, *, armor: bool = False) -> bytes:
        """Return the public certificate."""
        return self.gpg(*_armor(armor), "--export", fingerprint)

    def export_secret(self, fingerprint: str) -> bytes:
        """Return the secret key, binary."""
        return self.gpg("--export-secret-keys", fingerprint)

    def take(self, content: bytes) -> None:
        """Import certificates or secret keys."""
        self.gpg("--import", stdin=content)

    def forget(self, fingerprint: str, *, secret_only: bool = False) -> None:
        """Delete a key from the ring."""
        verb = "--delete-secret-keys" if secret_only else "--delete-secret-and-public-key"
        self.gpg("--yes", verb, fingerprint)

    def revoke(self, fingerprint: str) -> bytes:
        """Revoke a key of ours and return the certificate, revoked."""
        path = self.home / "openpgp-revocs.d" / f"{fingerprint}.rev"
        revocation = path.read_text(encoding="utf-8").replace(":-----BEGIN", "-----BEGIN")
        self.take(revocation.encode())
        return self.export(fingerprint)

    def expire(self, fingerprint: str, when: str, *subkeys: str, at: str | None = None) -> None:
        """Set the expiry of a key (or of its subkeys)."""
        self.gpg("--quick-set-expire", fingerprint, when, *subkeys, at=at)

    def encrypt(
        self, content: bytes, *recipients: str, sign: str | None = None, armor: bool = True,
        hidden: bool = False, compress: bool = False, extra: Sequence[str] = (),
        at: str | None = None,
    ) -> bytes:  # fmt: skip
        """Return an OpenPGP message to the recipients (fingerprints), signed when asked."""
        to = [part for who in recipients for part in ("-R" if hidden else "-r", who)]
        signing = ["--sign", "--local-user", sign] if sign else []
        packing = [] if compress else ["--compress-algo", "none"]
        return self.gpg(
            *_armor(armor), *packing, *extra, *signing, *to, "--encrypt", stdin=content, at=at
        )

    def encrypt_with_password(self, content: bytes, password: str) -> bytes:
        """Return an armored message that a password opens and no key does."""
        ring = Ring(self.home, passphrase=password)
        return ring.gpg("--armor", "--symmetric", stdin=content)

    def sign_detached(
        self, content: bytes, signer: str, *, armor: bool = True, at: str | None = None,
        extra: Sequence[str] = (),
    ) -> bytes:  # fmt: skip
        """Return a detached signature over these very bytes."""
        args = (*_armor(armor), *extra, "--local-user", signer, "--detach-sign")
        return self.gpg(*args, stdin=content, at=at)

    def sign(self, content: bytes, signer: str, *, armor: bool = True) -> bytes:
        """Return a signed, unencrypted message (compressed, as gpg does)."""
        return self.gpg(*_armor(armor), "--local-user", signer, "--sign", stdin=content)

    def clearsign(self, content: bytes, signer: str, *, at: str | None = None) -> bytes:
        """Return a text in the cleartext signature framework."""
        return self.gpg("--local-user", signer, "--clearsign", stdin=content, at=at)

    def decrypt(self, message: bytes) -> bytes:
        """Return the plaintext of a message."""
        return self.gpg("--decrypt", stdin=message, ok=(0, 2))

    def verify_detached(self, signature: bytes, content: bytes) -> bytes:
        """Return the status lines that gpg writes for a detached signature."""
        with tempfile.TemporaryDirectory(prefix="sbk", dir="/tmp") as scratch:
            path = Path(scratch) / "signature"
            path.write_bytes(signature)
            return self.gpg(
                "--status-fd", "1", "--verify", str(path), "-", stdin=content, ok=(0, 1, 2)
            )

    def copy(self) -> Ring:
        """Return a ring of its own with the same keys; close it."""
        twin = Path(tempfile.mkdtemp(prefix="sbk", dir="/tmp"))
        shutil.copytree(self.home, twin, dirs_exist_ok=True, ignore=_LEFT_BEHIND)
        twin.chmod(0o700)
        return Ring(twin, passphrase=self.passphrase)

    def close_agent(self) -> None:
        """Stop the agent; gpg starts it again when it is needed."""
        kill_agents(self.home)

    def close(self) -> None:
        """Stop the agent and remove the home."""
        kill_agents(self.home)
        shutil.rmtree(self.home, ignore_errors=True)


def _armor(wanted: bool) -> tuple[str, ...]:
    return ("--armor",) if wanted else ()


def kill_agents(home: Path) -> None:
    """Stop the daemons that gpg started for a home directory."""
    subprocess.run(
        [_GPGCONF, "--homedir", str(home), "--kill", "all"], capture_output=True, check=False
    )


@contextmanager
def fresh_ring(*, passphrase: str = "") -> Iterator[Ring]:
    """Give an empty ring with a short path and mode 0700, and clear it away."""
    ring = Ring(Path(tempfile.mkdtemp(prefix="sbk", dir="/tmp")), passphrase=passphrase)
    try:
        yield ring
    finally:
        ring.close()


@contextmanager
def copied_ring(source: Ring) -> Iterator[Ring]:
    """Give a copy of a ring that a test may change, and clear it away."""
    ring = source.copy()
    try:
        yield ring
    finally:
        ring.close()


@dataclass(frozen=True)
class Keys:
    """The cast of the session.

    ``role`` holds the role key (``security@example.org``), secret and public, and nothing else;
    ``reporter`` holds the reporter's key pair (``reporter@example.net``) and the role certificate.
    ``stranger`` holds a key pair of somebody whom nobody knows.  Treat all three as read-only:
    take ``copied_ring`` (fixture ``role_ring``) to change one.
    """

    role: Ring
    role_fpr: str
    reporter: Ring
    reporter_fpr: str
    stranger: Ring
    stranger_fpr: str

    @property
    def role_cert(self) -> bytes:
        """The role certificate, binary."""
        return self.role.export(self.role_fpr)

    @property
    def reporter_cert(self) -> bytes:
        """The reporter's certificate, binary."""
        return self.reporter.export(self.reporter_fpr)

    @property
    def stranger_cert(self) -> bytes:
        """The stranger's certificate, binary."""
        return self.stranger.export(self.stranger_fpr)


@contextmanager
def cast() -> Iterator[Keys]:
    """Make the keys of the session."""
    with fresh_ring() as role, fresh_ring() as reporter, fresh_ring() as stranger:
        keys = Keys(
            role, role.make_key(f"Example Security <{ROLE}>"),
            reporter, reporter.make_key(f"Rita Reporter <{REPORTER}>"),
            stranger, stranger.make_key("Stranger <stranger@example.com>"),
        )  # fmt: skip
        reporter.take(keys.role_cert)
        stranger.take(keys.role_cert)
        yield keys

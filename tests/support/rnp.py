"""Can someone with Thunderbird read us, and write to us?  RNP, its OpenPGP, by its own commands.

``Rnp`` drives one keyring folder.  RNP shares no code with GnuPG or with Sequoia: packets, armor,
keys and signatures are read and written by others than those whom we use.  It has no agent.
``why_not()`` says what is missing where it cannot run.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_RNP = shutil.which("rnp")
_RNPKEYS = shutil.which("rnpkeys")
_LIMIT = 60.0
_FINGERPRINT = re.compile(r"^(?:pub|sec) .*\n +([0-9a-f]{40})$", re.MULTILINE)
_SIGNATURE = re.compile(
    r"^(.+) signature made .*\nusing \S+ key [0-9a-f]{16}\n(?:\npub .*\n +([0-9a-f]{40})\n)?",
    re.MULTILINE,
)


def why_not() -> str | None:
    """Return why no RNP can run here, or None when one can."""
    if _RNP is None or _RNPKEYS is None:
        return "rnp is not installed: sudo make test-deps"
    return None


class RnpError(AssertionError):
    """RNP did not do what the test needs; tests hold no secrets, so tell all."""


class Kind(StrEnum):
    """Keys that RNP can make, each with a subkey for encryption."""

    RSA_3072 = "rsa3072"
    CV25519 = "cv25519"
    NIST_P256 = "nistp256"


_CHOICES = {Kind.RSA_3072: "1\n3072\n", Kind.CV25519: "22\n", Kind.NIST_P256: "19\n1\n"}
"""What one answers when ``rnpkeys --expert`` asks."""


class Packing(StrEnum):
    """How a message is compressed inside; ``NONE`` leaves the layer out, as Thunderbird does."""

    NONE = "none"
    ZIP = "zip"
    ZLIB = "zlib"
    BZIP2 = "bzip"


@dataclass(frozen=True, slots=True)
class Reading:
    """What RNP made of a message: ``ok`` is its exit status, ``content`` what it wrote.

    ``signatures`` are pairs of its word ("Good", "BAD", "EXPIRED", …) and of the signer's primary
    fingerprint in capitals, which is "" where it has no such key.
    """

    ok: bool
    content: bytes
    signatures: tuple[tuple[str, str], ...]


class Rnp:
    """One keyring folder of RNP, driven as its own commands are."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def make_key(self, uid: str, kind: Kind) -> str:
        """Make a key of RNP's own making, without a password, and return its fingerprint."""
        made = self._rnpkeys("--expert", "--generate-key", "--userid", uid, "--password", "",
                             stdin=_CHOICES[kind].encode())  # fmt: skip
        (fingerprint,) = _fingerprints(made)
        return fingerprint

    def take(self, content: bytes) -> str:
        """Import a certificate or secret key that is new here, and return its fingerprint.

        What the library complains of in its log is an error, even where it goes on.
        """
        with self._file(content) as file:
            done = self._rnpkeys("--import-keys", file)
        if any(line.startswith(b"[") for line in done.stderr.splitlines()):
            raise RnpError(done.stderr.decode())
        (fingerprint,) = _fingerprints(done)
        return fingerprint

    def export(self, fingerprint: str) -> bytes:
        """Return the public certificate, armored: RNP writes no other."""
        return self._rnpkeys("--export-key", fingerprint).stdout

    def encrypt(
        self, content: bytes, to: str, *, sign: str, packing: Packing = Packing.NONE
    ) -> bytes:
        """Return an armored message to one key, signed by another; both are fingerprints."""
        packed = ["-z", "0"] if packing is Packing.NONE else [f"--{packing}"]
        return self._rnp(
            "--encrypt", "--sign", "--armor", *packed, "-r", to, "-u", sign, "--password", "",
            stdin=content,
        ).stdout  # fmt: skip

    def sign_detached(self, content: bytes, signer: str) -> bytes:
        """Return an armored detached signature over these very bytes."""
        args = ("--sign", "--detach", "--armor", "-u", signer, "--password", "")
        return self._rnp(*args, stdin=content).stdout

    def clearsign(self, content: bytes, signer: str) -> bytes:
        """Return a text in the cleartext signature framework."""
        return self._rnp("--clearsign", "-u", signer, "--password", "", stdin=content).stdout

    def read(self, message: bytes) -> Reading:
        """Decrypt a message and verify what is signed in it."""
        return _reading(self._rnp("--decrypt", "--password", "", stdin=message, ok=(0, 1)))

    def verify_detached(self, signature: bytes, content: bytes) -> Reading:
        """Verify a detached signature over these very bytes; nothing is written."""
        with self._file(content) as file:
            return _reading(self._rnp("--verify", "--source", file, stdin=signature, ok=(0, 1)))

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.home, ignore_errors=True)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _rnp(
        self, *args: str, stdin: bytes, ok: Sequence[int] = (0,)
    ) -> subprocess.CompletedProcess[bytes]:
        return self._run(_RNP or "rnp", *args, "--output", "-", "-", stdin=stdin, ok=ok)

    def _rnpkeys(self, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return self._run(_RNPKEYS or "rnpkeys", *args, stdin=stdin)

    def _run(
        self, program: str, *args: str, stdin: bytes, ok: Sequence[int] = (0,)
    ) -> subprocess.CompletedProcess[bytes]:
        # Nothing of ours: it would keep a folder in our HOME as well.
        done = subprocess.run(
            [program, "--homedir", str(self.home), "--notty", *args],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=_LIMIT,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(self.home)},
        )
        if done.returncode not in ok:
            raise RnpError(f"{args}: {done.returncode}\n{done.stderr.decode(errors='replace')}")
        return done

    @contextmanager
    def _file(self, content: bytes) -> Iterator[str]:
        with tempfile.NamedTemporaryFile(prefix="sbr", dir="/tmp") as file:
            file.write(content)
            file.flush()
            yield file.name


def _fingerprints(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    return [found.upper() for found in _FINGERPRINT.findall(done.stdout.decode())]


def _reading(done: subprocess.CompletedProcess[bytes]) -> Reading:
    signatures = _SIGNATURE.findall(done.stderr.decode(errors="replace"))
    return Reading(
        done.returncode == 0,
        done.stdout,
        tuple((word, fingerprint.upper()) for word, fingerprint in signatures),
    )


@contextmanager
def fresh_rnp(*keys: bytes) -> Iterator[Rnp]:
    """Give a folder with a short path and mode 0700 that holds these keys, and clear it away."""
    rnp = Rnp(Path(tempfile.mkdtemp(prefix="sbr", dir="/tmp")))
    try:
        for key in keys:
            rnp.take(key)
        yield rnp
    finally:
        rnp.close()

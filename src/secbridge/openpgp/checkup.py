"""Is a role key in good health?  Tried for real: a message opened, a signature made."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from secbridge.errors import Deferral
from secbridge.model.issue import Finding, Severity
from secbridge.openpgp.faults import Fault
from secbridge.openpgp.keyring import Keyring
from secbridge.openpgp.making import Maker
from secbridge.openpgp.opening import Opener
from secbridge.openpgp.ring import RingCertificate, encryption_keys
from secbridge.ports import Certificate

SOON = timedelta(days=60)
"""How long before its expiry a role key is a warning."""

_MENDS = {
    Fault.MISSING.value: "Install GnuPG, or set the path of gpg.",
    Fault.HOME.value: "Import the secret role key into the key ring; its directory must have "
    "mode 0700 and belong to the user that secbridge runs as.",
    Fault.PASSPHRASE.value: "Give the right passphrase of the role key, as a credential or a file.",
    Fault.AGENT.value: "Look at gpg-agent: it must start, and its socket path must be short.",
    Fault.TIMEOUT.value: "Raise the time limit for gpg, or look why the machine is so slow.",
    Fault.KILLED.value: "Look in the kernel's log who killed gpg; memory may be short.",
}
_PROBLEMS = {
    "expired": "Extend the expiry of the role key and publish it again.",
    "revoked": "Make a new role key and publish it.",
    "weak": "Make a new role key (Ed25519, or RSA 4096) and publish it.",
    "no-encryption-subkey": "Add an encryption subkey to the role key and publish it again.",
}


class Checkup:
    """Tests role keys.  Blocks."""

    def __init__(self, home: Path, keyring: Keyring, opener: Opener, maker: Maker) -> None:
        self._home = home
        self._keyring = keyring
        self._opener = opener
        self._maker = maker

    def findings(self, fingerprint: str) -> Sequence[Finding]:
        """Return what is wrong with a role key, or one finding that says that nothing is."""
        subject = f"role key {fingerprint}"
        _forget_passphrases(self._home)
        try:
            found = self._keyring.find(fingerprint)
            if found is None:
                return (_error(subject, "It is not in the key ring.", _MENDS[Fault.HOME.value]),)
            problems = [*self._validity(subject, found), *self._trial(subject, found)]
        except Deferral as exc:
            return (_fault(subject, "The key ring cannot be read", exc),)
        return tuple(problems) or (Finding(subject, Severity.OK, "It decrypts and signs."),)

    def _validity(self, subject: str, found: RingCertificate) -> Iterator[Finding]:
        certificate = self._keyring.judge(found)
        if certificate.problem is not None:
            text = f"It cannot be encrypted to: {certificate.problem}."
            yield _error(subject, text, _PROBLEMS.get(certificate.problem, ""))
        elif (left := _left(certificate)) is not None and left < SOON:
            text = f"It expires in {left.days} days."
            yield Finding(subject, Severity.WARNING, text, _PROBLEMS["expired"])

    def _trial(self, subject: str, found: RingCertificate) -> Iterator[Finding]:
        try:
            for key in encryption_keys(found, time.time()):
                self._opener.prove(found, key)
        except Deferral as exc:
            yield _fault(subject, "It cannot decrypt", exc)
        try:
            self._maker.sign_detached(b"secbridge proves that it can sign\n", found.fingerprint)
        except Deferral as exc:
            yield _fault(subject, "It cannot sign", exc)


def cannot_look(fingerprint: str, exc: Deferral) -> Finding:
    """Return what is wrong when a role key could not even be looked for."""
    return _fault(f"role key {fingerprint}", "The key ring cannot be used", exc)


def _left(certificate: Certificate) -> timedelta | None:
    return None if certificate.expires is None else certificate.expires - datetime.now(UTC)


def _error(subject: str, text: str, mend: str) -> Finding:
    return Finding(subject, Severity.ERROR, text, mend)


def _fault(subject: str, what: str, exc: Deferral) -> Finding:
    return _error(subject, f"{what}: {exc.code}.", _MENDS.get(exc.code, ""))


def _forget_passphrases(home: Path) -> None:
    """Make the agent forget: one that remembers would hide that ours is wrong."""
    command = [
        shutil.which("gpgconf") or "gpgconf",
        "--homedir",
        str(home),
        "--reload",
        "gpg-agent",
    ]
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10
        )

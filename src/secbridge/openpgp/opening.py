"""What does this ciphertext say, and who signed it?  One answer about the mail, or a fault of ours.

A message that does not open is blamed only after our own side is proven healthy: where gpg's
status could also mean a lost key, a wrong passphrase or a dead agent, a message that we make
ourselves must open first; and then the mail is tried once more, because an agent that died over it
is there again by now.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from secbridge.mail.packets import PacketFacts, describe
from secbridge.model.message import OpenFailure, SignatureFact
from secbridge.model.plaintext import Plaintext
from secbridge.openpgp import sealing, status
from secbridge.openpgp.faults import Fault, fault
from secbridge.openpgp.hardened import HardenedGPG
from secbridge.openpgp.keyring import Keyring
from secbridge.openpgp.process import Outcome
from secbridge.openpgp.ring import RingCertificate, RingKey
from secbridge.openpgp.status import StatusLine
from secbridge.ports import CannotEncrypt, CannotOpen, Decrypted, Verified

_HEAD = 64 * 1024
_MOST_SIGNATURE = 1024 * 1024
_PROBE = b"secbridge proves that it can open what it is sent\n"


class Opener:
    """Decrypts and verifies with one ring.  All methods block; faults of ours are Deferrals."""

    def __init__(self, gpg: HardenedGPG, keyring: Keyring) -> None:
        self._gpg = gpg
        self._keyring = keyring

    def decrypt(self, ciphertext: bytes | memoryview, limit: int) -> Decrypted | CannotOpen:
        """Open exactly one OpenPGP message (port: ``OpenPGP.decrypt``)."""
        head = describe(bytes(ciphertext[:_HEAD]))
        if head.passwords and not head.recipients:
            return CannotOpen(OpenFailure.SYMMETRIC_ONLY)  # gpg would try our passphrase on it
        outcome, lines = self._listen("--decrypt", stdin=ciphertext, limit=limit, secret=True)
        if self._may_be_our_fault(outcome, lines, ciphertext):
            outcome, lines = self._listen("--decrypt", stdin=ciphertext, limit=limit, secret=True)
        if outcome.capped:
            return CannotOpen(OpenFailure.TOO_LARGE)
        if not status.proves_decryption(lines, outcome.returncode):
            self._rule_out_named_faults(lines)
            return CannotOpen(status.failure(lines, describe(bytes(ciphertext))))
        signatures = map(self._keyring.signature, status.decrypted_signatures(lines))
        opened_by = status.opening_key(lines)
        return Decrypted(Plaintext(outcome.output), opened_by, tuple(signatures))

    def verify_detached(self, signature: bytes, content: bytes) -> tuple[SignatureFact, ...]:
        """Judge a detached signature (port: ``OpenPGP.verify_detached``)."""
        if len(signature) > _MOST_SIGNATURE:
            return ()
        with _in_memory(signature) as fd:
            outcome, lines = self._listen(
                "--enable-special-filenames", "--verify", "--", f"-&{fd}", "-",
                stdin=content, limit=_HEAD, pass_fds=(fd,),
            )  # fmt: skip
        self._rule_out_named_faults(lines)
        return () if outcome.capped else self._facts(lines)

    def verify_opaque(self, message: bytes, limit: int) -> Verified | CannotOpen:
        """Judge a signed message that carries its text (port: ``OpenPGP.verify_opaque``)."""
        outcome, lines = self._listen("--decrypt", stdin=message, limit=limit)
        if outcome.capped:
            return CannotOpen(OpenFailure.TOO_LARGE)
        self._rule_out_named_faults(lines)
        if not status.proves_opaque(lines, outcome.returncode):
            return CannotOpen(OpenFailure.CORRUPT)
        return Verified(Plaintext(outcome.output), self._facts(lines))

    def prove(self, role: RingCertificate, key: RingKey) -> None:
        """Open a message of our own to this key; raises Deferral when it does not open."""
        try:
            certificate = self._keyring.narrowed(role.fingerprint, key.fingerprint)
        except CannotEncrypt:  # it was in the ring a moment ago
            raise fault(Fault.HOME) from None
        probe = sealing.seal(_PROBE, [certificate], [key.key_id])
        if probe is None:
            self._prove_by_file(key)
            return
        outcome = self._gpg.call("--decrypt", stdin=probe, limit=_HEAD, secret=True)
        lines = status.parse(outcome.status)
        if not status.proves_decryption(lines, outcome.returncode):
            raise fault(self._kind(lines, key), *status.keywords(lines))

    def _listen(
        self,
        *args: str,
        stdin: bytes | memoryview,
        limit: int,
        secret: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> tuple[Outcome, tuple[StatusLine, ...]]:
        """Run gpg, once more when a bad signature made it leave before it had seen everything.

        In batch mode gpg exits at the first bad signature: other signatures stay unread, and the
        integrity protection of the ciphertext around it unchecked.
        """
        for batch in (True, False):
            for fd in pass_fds:
                os.lseek(fd, 0, os.SEEK_SET)
            outcome = self._gpg.call(
                *args, stdin=stdin, limit=limit, batch=batch, secret=secret, pass_fds=pass_fds
            )
            lines = status.parse(outcome.status)
            if outcome.capped or not status.count(lines, "BADSIG"):
                break
        return outcome, lines

    def _facts(self, lines: Sequence[StatusLine]) -> tuple[SignatureFact, ...]:
        return tuple(map(self._keyring.signature, status.signatures(lines)))

    def _may_be_our_fault(
        self, outcome: Outcome, lines: Sequence[StatusLine], ciphertext: bytes | memoryview
    ) -> bool:
        """Return whether a key of ours should have opened it, now that our side is seen to work.

        Raises Deferral when it does not.
        """
        if outcome.capped or status.proves_decryption(lines, outcome.returncode):
            return False
        self._rule_out_named_faults(lines)
        if status.count(lines, "DECRYPTION_KEY"):
            return False
        return self._rule_out_lost_keys(describe(bytes(ciphertext)))

    def _rule_out_named_faults(self, lines: Sequence[StatusLine]) -> None:
        if (kind := status.fault_of(lines)) is not None:
            raise fault(kind, *status.keywords(lines))

    def _rule_out_lost_keys(self, facts: PacketFacts) -> bool:
        """Prove each of our keys that a message may be for, and return whether there is one."""
        keys = list(self._keyring.addressed(facts.recipients)) if facts.recipients else []
        for role, key in keys:
            self.prove(role, key)
        return bool(keys)

    def _prove_by_file(self, key: RingKey) -> None:
        """Where no message can be made to an old key, at least its secret part must be there."""
        if not self._keyring.secret_file_exists(key):
            raise fault(Fault.HOME)

    def _kind(self, lines: Sequence[StatusLine], key: RingKey) -> Fault:
        """Tell a secret key that is lost from one that is there and cannot be used."""
        kind = status.fault_of_our_own(lines)
        if kind in (Fault.HOME, None):
            return Fault.AGENT if self._keyring.secret_file_exists(key) else Fault.HOME
        return kind


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """Give a descriptor of a file that holds ``content`` and stands on no disk."""
    try:
        fd = os.memfd_create("signature", os.MFD_CLOEXEC)
    except OSError:
        raise fault(Fault.SYSTEM) from None
    try:
        os.write(fd, content)
        yield fd
    finally:
        os.close(fd)

"""How do we answer so that only the right people can read it?  To chosen subkeys, checked after."""

from __future__ import annotations

from collections.abc import Sequence

from secbridge.mail.armor import dearmor
from secbridge.openpgp import sealing, status
from secbridge.openpgp.faults import Fault, fault
from secbridge.openpgp.hardened import HardenedGPG
from secbridge.openpgp.keyring import Keyring, normal
from secbridge.openpgp.process import Outcome
from secbridge.openpgp.status import StatusLine
from secbridge.ports import CannotEncrypt, Certificate, DetachedSignature

_MICALG = {"8": "pgp-sha256", "9": "pgp-sha384", "10": "pgp-sha512", "11": "pgp-sha224"}
"""Hash algorithms (RFC 9580 section 9.5) by the names of RFC 3156 section 5."""
_REASONS = {"1": "unknown-key", "4": "revoked", "5": "expired"}
"""What gpg gives with INV_RECP; anything else means that the key cannot encrypt."""


class Maker:
    """Encrypts, signs and seals with one ring.  All methods block; faults of ours are Deferrals."""

    def __init__(self, gpg: HardenedGPG, keyring: Keyring) -> None:
        self._gpg = gpg
        self._keyring = keyring

    def encrypt_and_sign(self, content: bytes, recipients: Sequence[str], signer: str) -> bytes:
        """Return one armored message to exactly these (port: ``OpenPGP.encrypt_and_sign``)."""
        chosen = self._choose(recipients)
        args = ["--armor", "--local-user", f"{normal(signer)}", "--sign", *_to(chosen), "--encrypt"]
        outcome, lines = self._call(args, content)
        self._refused(lines, recipients)
        if outcome.returncode != 0 or not status.count(lines, "SIG_CREATED"):
            raise fault(status.fault_of_our_own(lines) or Fault.REFUSED, *status.keywords(lines))
        return self._checked(outcome.output, chosen)

    def sign_detached(self, content: bytes, signer: str) -> DetachedSignature:
        """Sign these very bytes (port: ``OpenPGP.sign_detached``)."""
        args = ["--armor", "--local-user", normal(signer), "--detach-sign"]
        outcome, lines = self._call(args, content)
        made = status.first(lines, "SIG_CREATED")
        if outcome.returncode != 0 or made is None or made.arg(2) not in _MICALG:
            raise fault(status.fault_of_our_own(lines) or Fault.REFUSED, *status.keywords(lines))
        return DetachedSignature(outcome.output, _MICALG[made.arg(2)])

    def seal(self, content: bytes, recipients: Sequence[str]) -> bytes:
        """Encrypt for storage (port: ``OpenPGP.seal``)."""
        chosen = self._choose(recipients)
        narrowed = [
            self._keyring.narrowed(one.fingerprint, one.encryption_subkeys[0]) for one in chosen
        ]
        sealed = sealing.seal(content, narrowed, _key_ids(chosen))
        return sealed if sealed is not None else self._seal_by_gpg(content, chosen)

    def _seal_by_gpg(self, content: bytes, chosen: Sequence[Certificate]) -> bytes:
        outcome, lines = self._call([*_to(chosen), "--encrypt"], content)
        if outcome.returncode != 0:
            raise fault(status.fault_of_our_own(lines) or Fault.REFUSED, *status.keywords(lines))
        return self._checked(outcome.output, chosen)

    def _choose(self, recipients: Sequence[str]) -> list[Certificate]:
        """Return the certificates, each once; raises CannotEncrypt for any that is not usable."""
        if not recipients:
            raise CannotEncrypt("unknown-key", "")
        return [self._keyring.usable(one) for one in dict.fromkeys(map(normal, recipients))]

    def _call(self, args: Sequence[str], content: bytes) -> tuple[Outcome, tuple[StatusLine, ...]]:
        limit = 2 * len(content) + (1 << 20)
        outcome = self._gpg.call(*args, stdin=content, limit=limit, secret=True)
        if outcome.capped:
            raise fault(Fault.REFUSED)
        return outcome, status.parse(outcome.status)

    def _refused(self, lines: Sequence[StatusLine], recipients: Sequence[str]) -> None:
        """Raise CannotEncrypt when gpg refuses a recipient that our own look let pass."""
        if (line := status.first(lines, "INV_RECP")) is not None:
            named = normal(line.arg(1)).removesuffix("!")
            owner = self._keyring.find(named)
            fingerprint = owner.fingerprint if owner is not None else recipients[0]
            raise CannotEncrypt(_REASONS.get(line.arg(0), "no-encryption-subkey"), fingerprint)

    def _checked(self, message: bytes, chosen: Sequence[Certificate]) -> bytes:
        """Return the message, once its session keys are seen to be for the chosen subkeys alone."""
        if not sealing.addressed_exactly(dearmor(message, at_most=1 << 16), _key_ids(chosen)):
            raise fault(Fault.REFUSED)
        return message


def _to(chosen: Sequence[Certificate]) -> list[str]:
    """Name each recipient by its subkey; the exclamation mark forbids gpg a choice of its own."""
    return [part for one in chosen for part in ("--recipient", f"{one.encryption_subkeys[0]}!")]


def _key_ids(chosen: Sequence[Certificate]) -> list[str]:
    return [one.encryption_subkeys[0][-16:] for one in chosen]

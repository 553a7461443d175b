"""Whose keys do we have?  The ring as gpg lists it, remembered while its file stands still."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar, cast

from secbridge.mail.packets import HIDDEN
from secbridge.model.message import SignatureFact, SignatureVerdict
from secbridge.openpgp import certs, status
from secbridge.openpgp.faults import Fault, fault
from secbridge.openpgp.hardened import HardenedGPG
from secbridge.openpgp.ring import RingCertificate, RingKey, judge, parse_listing
from secbridge.openpgp.strangers import Strangers
from secbridge.openpgp.strength import Bounds, KeyLimits
from secbridge.openpgp.userids import addr_spec
from secbridge.openpgp.watch import Watch
from secbridge.ports import CannotEncrypt, Certificate
from secbridge.rules.structure import same_address

T = TypeVar("T")

_MOST_REMEMBERED = 4096
_LEAST_SPACE = 1 << 20
"""Octets that gpg needs at the least to rewrite a small ring."""
_MOST_SUBKEYS = 64
"""Subkeys of a certificate that is taken; each is looked for in the ring."""
_HEX = frozenset("0123456789ABCDEF")
_LIMITS = KeyLimits()
_TELLS_WHO_SIGNED = frozenset({None, "no-encryption-subkey", "expired", "revoked"})
"""What may be wrong with a certificate by which we still judge the signatures of its owner."""


class Keyring:
    """The certificates of one GNUPGHOME and the role keys among them.  All methods block.

    ``role_keys`` are primary fingerprints; without any, every key whose secret part is in the ring
    is a role key.  ``own_keys`` are those of the members, who are held to the same ``limits``.
    """

    def __init__(
        self,
        gpg: HardenedGPG,
        home: Path,
        role_keys: Sequence[str],
        *,
        own_keys: Sequence[str] = (),
        limits: KeyLimits = _LIMITS,
    ) -> None:
        self._gpg = gpg
        self._home = home
        self._watch = Watch(home)
        self._role_keys = tuple(normal(fingerprint) for fingerprint in role_keys)
        self._own_keys = frozenset(normal(fingerprint) for fingerprint in own_keys)
        self._limits = limits
        self._strangers = Strangers(home)
        self._lock = threading.Lock()
        self._stamp: object = None
        self._remembered: dict[tuple[str, ...], object] = {}
        self._judged: dict[str, tuple[RingCertificate, int, Certificate]] = {}

    # ── Looking up ──

    def find(self, key: str) -> RingCertificate | None:
        """Return the one certificate that has a key of this fingerprint or key id, or None."""
        wanted = normal(key)
        if len(wanted) not in (16, 40) or not set(wanted) <= _HEX:
            return None
        found = [
            one
            for one in self._listed("--list-keys", wanted)
            if any(part.fingerprint.endswith(wanted) for part in one.keys)
        ]
        own = [one for one in found if one.fingerprint == wanted]  # others may claim its key
        return (own or found)[0] if len(own or found) == 1 else None

    def named(self, address: str) -> tuple[RingCertificate, ...]:
        """Return the certificates with this address as a valid user ID."""
        if addr_spec(address) is None:
            return ()
        now = time.time()
        return tuple(
            one
            for one in self._listed("--list-keys", f"<{address}>")
            if any(same_address(address, valid) for valid in one.addresses(now))
        )

    def ours(self, address: str) -> tuple[RingCertificate, ...]:
        """Return those of them that a person put there: a stranger's mail brings only a claim."""
        return tuple(one for one in self.named(address) if one.fingerprint not in self._strangers)

    def judged(self, fingerprint: str) -> Certificate | None:
        """Return a certificate of the ring as we judge it now, or None."""
        found = self.find(fingerprint)
        if found is None or found.fingerprint != normal(fingerprint):
            return None
        return self.judge(found)

    def judge(self, found: RingCertificate) -> Certificate:
        """Return one of the ring's certificates as we judge it now; once in each second."""
        now = int(time.time())  # what expires does so at a whole second
        kept = self._judged.get(found.fingerprint)
        if kept is None or kept[0] is not found or kept[1] != now:
            kept = (found, now, judge(found, now, self.bounds(found)))
            self._judged[found.fingerprint] = kept
        return kept[2]

    def bounds(self, found: RingCertificate) -> Bounds:
        """Return what is asked of a certificate: more of our own than of a reporter's."""
        fingerprint = found.fingerprint
        own = found.secret or fingerprint in self._own_keys or self.is_role(fingerprint)
        return self._limits.bounds(own=own)

    def usable(self, fingerprint: str) -> Certificate:
        """Return a certificate that can be encrypted to now, or raise CannotEncrypt."""
        certificate = self.judged(fingerprint)
        if certificate is None:
            raise CannotEncrypt("unknown-key", fingerprint)
        if certificate.problem is not None:
            raise CannotEncrypt(certificate.problem, fingerprint)
        return certificate

    def signature(self, found: status.SignatureStatus) -> SignatureFact:
        """Return a signature with what the ring knows of its maker."""
        signer = self.find(found.key) if found.verdict is not SignatureVerdict.UNKNOWN_KEY else None
        if not found.proven or signer is None:
            key = signer.fingerprint if signer is not None else found.key
            return SignatureFact(found.verdict, key, (), found.signed_at)
        addresses = signer.addresses(time.time())
        return SignatureFact(found.verdict, found.key, addresses, found.signed_at)

    # ── Role keys ──

    def roles(self) -> tuple[RingCertificate, ...]:
        """Return the role keys of the ring; raises Deferral when it lost one that was named."""
        if not self._role_keys:
            return self._listed("--list-secret-keys")
        found = tuple(one for fpr in self._role_keys if (one := self.find(fpr)) is not None)
        if len(found) < len(self._role_keys):
            raise fault(Fault.HOME)
        return found

    def is_role(self, fingerprint: str) -> bool:
        """Whether a primary fingerprint is that of a role key."""
        if self._role_keys:
            return normal(fingerprint) in self._role_keys
        ours = self._listed("--list-secret-keys")
        return any(one.fingerprint == normal(fingerprint) for one in ours)

    def addressed(self, key_ids: Sequence[str]) -> tuple[tuple[RingCertificate, RingKey], ...]:
        """Return our keys to which a message with these key ids may be encrypted.

        A hidden recipient may be any of our encryption keys that are in force.
        """
        now = time.time()
        return tuple(
            (role, key)
            for role in self.roles()
            for key in role.keys
            if key.key_id in key_ids
            or (HIDDEN in key_ids and key.encrypts() and _in_force(key, now))
        )

    def secret_file_exists(self, key: RingKey) -> bool:
        """Whether the file of a secret key is there, whatever the agent says."""
        return (self._home / "private-keys-v1.d" / f"{key.keygrip}.key").is_file()

    # ── Certificates in and out ──

    def export(self, fingerprint: str, *, minimal: bool = True) -> bytes:
        """Return a public certificate, binary; raises CannotEncrypt when the ring has none."""
        wanted = normal(fingerprint)
        if self.find(wanted) is None:
            raise CannotEncrypt("unknown-key", fingerprint)

        def exported() -> bytes:
            found = cast("bytes", self._gpg.export_keys(wanted, armor=False, minimal=minimal))
            return certs.with_primary(found, wanted)

        return self._remember(("export", wanted, str(minimal)), exported)

    def narrowed(self, fingerprint: str, subkey: str) -> bytes:
        """Return a public certificate that has this one subkey and no other."""
        return self._remember(
            ("narrowed", normal(fingerprint), subkey),
            lambda: certs.only_subkeys(self.export(fingerprint), [subkey]),
        )

    def take(self, content: bytes, address: str, *, by_person: bool = False) -> Certificate | None:
        """Import the certificate that names ``address`` (port: ``OpenPGP.import_certificate``)."""
        taken = self._take(content, address)
        if by_person and taken is not None and taken.fingerprint:
            self._strangers.unmark(taken.fingerprint)
        return taken

    def _take(self, content: bytes, address: str) -> Certificate | None:
        if addr_spec(address) is None:
            return None
        seen = ("import", sha256(content).hexdigest(), address)
        if (known := self._recall(seen, self._watch.stamp())) is not None:
            return self.judged(cast("str", known))
        bounds = self._limits.bounds(own=False)
        inspected = [
            certs.UNREADABLE if self._claims_anothers(one) else one
            for one in certs.inspect(content, datetime.now(UTC), bounds)
        ]
        chosen = _choose(inspected, address)
        if chosen is None:
            return None
        for one in _naming(inspected, address):
            self._keep(one, address)
        if chosen.certificate.problem is not None:
            return chosen.certificate
        self._remember(seen, lambda: chosen.certificate.fingerprint)
        return self._taken(chosen.certificate, address)

    def forget(self, fingerprint: str) -> bool:
        """Delete a certificate (port: ``OpenPGP.forget_certificate``)."""
        found = self.find(fingerprint)
        if found is None or found.secret or self.is_role(found.fingerprint):
            return False
        self._delete(found.fingerprint)
        return True

    def _delete(self, fingerprint: str) -> None:
        outcome = self._gpg.call("--yes", "--delete-keys", fingerprint)
        if outcome.returncode != 0:
            raise fault(Fault.REFUSED, *status.keywords(status.parse(outcome.status)))
        self._strangers.unmark(fingerprint)

    def _keep(self, one: certs.Inspected, address: str) -> None:
        """Import a certificate, cut down to one address, if it is of any use and none of ours."""
        fingerprint = one.certificate.fingerprint
        if one.certificate.problem in _TELLS_WHO_SIGNED and not self.is_role(fingerprint):
            if one.proven:
                self._evict_claimants(fingerprint)
            if self.judged(fingerprint) is None and fingerprint not in self._own_keys:
                self._strangers.mark(fingerprint)
            self._import(certs.only_address(one.content, address), fingerprint)

    def _taken(self, inspected: Certificate, address: str) -> Certificate | None:
        """Return what the ring holds now; gpg has the last word on what it took."""
        found = self.judged(inspected.fingerprint)
        if found is None or not any(same_address(address, one) for one in found.addresses):
            role = self.is_role(inspected.fingerprint)
            return None if role else Certificate(inspected.fingerprint, (), problem="malformed")
        return found

    # ── Stolen keys ──
    # Anybody can bind another's public key under a primary key of his own.  With both in the ring
    # gpg takes the one for the other, or neither: so a thief stays out.

    def _claims_anothers(self, one: certs.Inspected) -> bool:
        """Whether a certificate has a role's key, or somebody's primary key, as its subkey."""
        primary, *subkeys = certs.fingerprints(one.content) or ("",)
        if len(subkeys) > _MOST_SUBKEYS:
            return True
        return any(
            self.is_role(other.fingerprint) or other.fingerprint in subkeys
            for other in self._holders(primary, *subkeys)
            if other.fingerprint != primary
        )

    def _evict_claimants(self, fingerprint: str) -> None:
        """Delete what came earlier and has this primary key as its subkey; gpg would not import."""
        for other in self._holders(fingerprint):
            if other.fingerprint != fingerprint and not self.is_role(other.fingerprint):
                self._delete(other.fingerprint)

    def _holders(self, *fingerprints: str) -> tuple[RingCertificate, ...]:
        """Return the certificates of the ring that have one of these keys."""
        wanted = [one for one in fingerprints if one]
        return self._listed("--list-keys", *wanted) if wanted else ()

    def _import(self, content: bytes, fingerprint: str) -> None:
        result = self._gpg.import_keys(content, extra_args=["--import-options", "import-minimal"])
        lines: Sequence[status.StatusLine] = result.status_lines
        said = status.first(lines, "IMPORT_RES")
        if any(it.keyword == "IMPORT_OK" and it.arg(1) == fingerprint for it in lines):
            return
        if (kind := status.fault_of_our_own(lines)) is not None or said is None:
            raise fault(kind or Fault.REFUSED, *status.keywords(lines))
        if _disk_full(self._home):  # of which gpg says nothing in its status
            raise fault(Fault.DISK_FULL)
        if said.arg(0) == "0":
            raise fault(Fault.REFUSED)

    # ── Remembering ──

    def _listed(self, *query: str) -> tuple[RingCertificate, ...]:
        return self._remember(("listed", *query), lambda: self._list(*query))

    def _list(self, verb: str, *names: str) -> tuple[RingCertificate, ...]:
        outcome = self._gpg.call(
            verb, "--with-keygrip", "--fingerprint", "--fingerprint", "--", *names
        )
        lines = status.parse(outcome.status)
        if (kind := status.fault_of(lines)) is not None:
            raise fault(kind, *status.keywords(lines))
        return parse_listing(outcome.output)

    def _remember(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        stamp = self._watch.stamp()
        known = self._recall(key, stamp)
        if known is not None:
            return cast("T", known)
        made = make()
        with self._lock:
            if self._stamp != stamp or len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
                self._judged.clear()
                self._stamp = stamp
            self._remembered[key] = made
        return made

    def _recall(self, key: tuple[str, ...], stamp: object) -> object | None:
        with self._lock:
            return self._remembered.get(key) if self._stamp == stamp else None


def _disk_full(home: Path) -> bool:
    found = os.statvfs(home)
    return found.f_bavail * found.f_frsize < _LEAST_SPACE


def _in_force(key: RingKey, now: float) -> bool:
    return key.validity not in ("r", "e", "i", "d") and not key.expired(now)


def _choose(inspected: Sequence[certs.Inspected], address: str) -> certs.Inspected | None:
    """Return the certificate that names the address, a usable one first."""
    naming = _naming(inspected, address)
    hopeless = [one for one in inspected if not one.certificate.fingerprint]
    if not naming:
        return hopeless[0] if len(hopeless) == len(inspected) else None
    return min(naming, key=lambda one: one.certificate.problem is not None)


def _naming(inspected: Sequence[certs.Inspected], address: str) -> list[certs.Inspected]:
    return [
        one
        for one in inspected
        if any(same_address(address, named) for named in one.certificate.addresses)
    ]


def normal(fingerprint: str) -> str:
    """Return a fingerprint in upper case, without the blanks that people put in."""
    return "".join(fingerprint.split()).upper().removeprefix("0X")

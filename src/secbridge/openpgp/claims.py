"""What does a certificate say of itself?  Its packets, as its owner wrote them.

Nothing here is proven: whose signatures hold is for pysequoia, or for gpg, to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pysequoia import Cert
from pysequoia.packet import HashAlgorithm, Packet, PacketPile, SignatureType, Tag

from secbridge.openpgp.userids import fit_to_show, named

_BY_SIZE = {1: "rsa", 2: "rsa", 3: "rsa", 16: "elg", 17: "dsa", 20: "elg"}
_BY_CURVE = frozenset({18, 19, 22})
_PROVEN_BITS = 2048
"""RSA, DSA and Elgamal keys that the library looks at have at least so many."""
_BROKEN_HASHES = (HashAlgorithm.MD5, HashAlgorithm.SHA1, HashAlgorithm.RipeMD)


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve that gpg knows.  ``proven``: the library knows it, too."""

    name: str
    bits: int
    proven: bool = True


_CURVES = {
    "2b06010401da470f01": Curve("ed25519", 255),
    "2b060104019755010501": Curve("cv25519", 255),
    "2a8648ce3d030107": Curve("nistp256", 256),
    "2b81040022": Curve("nistp384", 384),
    "2b81040023": Curve("nistp521", 521),
    "2b2403030208010107": Curve("brainpoolP256r1", 256, proven=False),
    "2b240303020801010b": Curve("brainpoolP384r1", 384, proven=False),
    "2b240303020801010d": Curve("brainpoolP512r1", 512, proven=False),
    "2b8104000a": Curve("secp256k1", 256, proven=False),
}
"""By their object identifiers (RFC 9580 section 9.2)."""


class UnreadableError(Exception):
    """pysequoia could not make sense of a certificate."""


@contextmanager
def library() -> Iterator[None]:
    """Turn what pysequoia raises, its panics included, into UnreadableError without its text."""
    try:
        yield
    except BaseException as exc:
        if isinstance(exc, RuntimeError) or type(exc).__name__ == "PanicException":
            raise UnreadableError from None
        raise


# ── Packets ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Signature:
    """What we ask of a signature packet."""

    raw: bytes
    kind: SignatureType
    used_hash: HashAlgorithm
    issuer: str | None
    created: datetime
    encrypts: bool
    validity: timedelta | None


@dataclass(slots=True)
class Component:
    """A key or user ID packet with the signatures that follow it."""

    packet: Packet
    raw: bytes
    signatures: list[Signature] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of a key, or nothing for one of an unknown version."""
        try:
            return (self.packet.fingerprint or "").upper()
        except RuntimeError:
            return ""

    @property
    def key_id(self) -> str:
        """The key id that a message to this key names."""
        return self.fingerprint[-16:]

    @property
    def algorithm(self) -> int:
        """OpenPGP's number of the algorithm of a key."""
        return int(self.packet.body[5])

    @property
    def curve(self) -> Curve | None:
        """The curve of a key (RFC 9580 section 5.5.5), or None for one that gpg does not know."""
        body = bytes(self.packet.body)
        return _CURVES.get(body[7 : 7 + body[6]].hex()) if len(body) > 6 else None

    @property
    def bits(self) -> int:
        """The size of a modulus or of a curve."""
        if self.algorithm in _BY_SIZE:
            return int.from_bytes(self.packet.body[6:8], "big")
        return self.curve.bits if self.curve is not None else 0

    @property
    def name(self) -> str:
        """The algorithm as people say it, as ``RingKey.name`` does."""
        if self.algorithm in _BY_SIZE:
            return f"{_BY_SIZE[self.algorithm]}{self.bits}"
        return self.curve.name if self.algorithm in _BY_CURVE and self.curve else "other"

    @property
    def foreign(self) -> bool:
        """Whether gpg knows nothing of the algorithm (X25519, Ed448 and the like of RFC 9580)."""
        on_known_curve = self.algorithm in _BY_CURVE and self.curve is not None
        return self.algorithm not in _BY_SIZE and not on_known_curve

    @property
    def unproven(self) -> bool:
        """Whether the library refuses to look at such a key, whatever its owner has signed."""
        if self.algorithm in _BY_SIZE:
            return self.bits < _PROVEN_BITS
        return self.curve is not None and not self.curve.proven


def components(certificate: bytes) -> list[Component]:
    """Return the packets of a certificate, signatures under what they sign.

    Signatures of unknown kinds or algorithms prove nothing to us and are passed over.
    """
    found: list[Component] = []
    for packet in PacketPile.from_bytes(certificate):
        if packet.tag != Tag.Signature:
            found.append(Component(packet, bytes(packet)))
        elif found and (signature := _signature(packet)) is not None:
            found[-1].signatures.append(signature)
    return found


def _signature(packet: Packet) -> Signature | None:
    try:
        kind, used_hash = packet.signature_type, packet.hash_algorithm
        created, flags = packet.signature_created, packet.key_flags
        issuer, validity = packet.issuer_key_id, packet.key_validity_period
        raw = bytes(packet)
    except RuntimeError:
        return None
    if kind is None or used_hash is None or created is None:
        return None
    encrypts = flags is not None and bool(flags.transport_encryption or flags.storage_encryption)
    return Signature(raw, kind, used_hash, issuer, created, encrypts, validity)


# ── A certificate ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Claims:
    """A certificate of version 4, as its packets and, where it looks, the library tell it."""

    cert: Cert
    components: Sequence[Component]

    @property
    def primary(self) -> Component:
        """The primary key."""
        return self.components[0]

    @property
    def subkeys(self) -> list[Component]:
        """The subkeys, bound or not."""
        return [one for one in self.components if one.packet.tag == Tag.PublicSubkey]

    @property
    def meant(self) -> list[Component]:
        """The subkeys whose owner says that they encrypt."""
        return [one for one in self.subkeys if self.encrypts(one)]

    @property
    def left_to_gpg(self) -> bool:
        """Whether gpg can look at the signatures of the primary key, and the library cannot."""
        return not self.primary.foreign and self.primary.unproven

    @property
    def revoked(self) -> bool:
        """Whether the owner took it back."""
        if self.left_to_gpg:
            return any(sig.kind == SignatureType.KeyRevocation for sig in self.primary.signatures)
        return bool(self.cert.is_revoked)

    @property
    def expiration(self) -> datetime | None:
        """When it expires, as the library proves or, for what is left to gpg, as it claims."""
        try:
            expiration: datetime | None = self.cert.expiration
        except RuntimeError:
            return self.expires(self.primary)
        return expiration

    @property
    def user_ids(self) -> tuple[str, ...]:
        """What its owner wrote, proven or not; octets that are no UTF-8 are replaced."""
        return user_ids(self.components)

    @property
    def readable_user_ids(self) -> bool:
        """Whether all user IDs are text that nobody is fooled by."""
        texts = [one.packet.user_id for one in self.components if one.packet.tag == Tag.UserID]
        return all(text is not None and len(text) <= 1024 and fit_to_show(text) for text in texts)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that it proves or, where that is left to gpg, claims."""
        if self.left_to_gpg:
            return named(self.user_ids)
        try:
            return named([str(user) for user in self.cert.user_ids])
        except RuntimeError:
            return ()

    @property
    def broken_bindings(self) -> bool:
        """Whether all that binds the user IDs, or the encryption keys, used a broken hash."""
        keys = [sig for key in self.meant for sig in self._bindings(key)]
        return any(
            bool(own) and all(sig.used_hash in _BROKEN_HASHES for sig in own)
            for own in (self._certifications, keys)
        )

    def encrypts(self, key: Component) -> bool:
        """Return whether the owner says that a key encrypts."""
        binding = self._binding(key)
        return binding is not None and binding.encrypts

    def expires(self, key: Component) -> datetime | None:
        """Return when a key expires by its own binding, or None."""
        binding, created = self._binding(key), key.packet.key_created
        validity = binding.validity if binding is not None else None
        return created + validity if created is not None and validity else None

    def state(self, key: Component, now: datetime) -> str | None:
        """Return ``revoked`` or ``expired``, or None for a key that stands."""
        if any(sig.kind == SignatureType.SubkeyRevocation for sig in key.signatures):
            return "revoked"
        expires = self.expires(key)
        return "expired" if expires is not None and expires <= now else None

    @property
    def _certifications(self) -> list[Signature]:
        """The signatures by which the owner binds user IDs."""
        names = [one for one in self.components if one.packet.tag == Tag.UserID]
        ours = (None, self.primary.packet.key_id)
        return [sig for one in names for sig in one.signatures if sig.issuer in ours]

    def _bindings(self, key: Component) -> list[Signature]:
        """Return the signatures that say what a key is for; of a primary, gpg's affair alone."""
        if key is not self.primary:
            return [sig for sig in key.signatures if sig.kind == SignatureType.SubkeyBinding]
        return self._certifications if self.left_to_gpg else []

    def _binding(self, key: Component) -> Signature | None:
        return max(self._bindings(key), key=lambda sig: sig.created, default=None)


def user_ids(components: Sequence[Component]) -> tuple[str, ...]:
    """Return what stands in the user ID packets; octets that are no UTF-8 are replaced."""
    packets = [one.packet for one in components if one.packet.tag == Tag.UserID]
    return tuple(bytes(packet.body).decode("utf-8", "replace") for packet in packets)

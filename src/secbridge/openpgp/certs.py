"""Is this stranger's certificate fit to answer to?  Looked at in-process, before gpg sees a byte.

pysequoia proves the bindings and the strength of what a certificate claims (its standard policy:
no SHA-1 bindings, no short keys); the packets tell expiry, revocation and version.  What passes is
cut down to one address, its own signatures and the keys that encrypt or sign.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from pysequoia import Cert, encrypt
from pysequoia.packet import HashAlgorithm, Packet, PacketPile, SignatureType, Tag

from secbridge.mail.armor import OpenPGPKind, blocks, dearmor
from secbridge.mail.packets import describe, walk
from secbridge.ports import Certificate
from secbridge.rules.structure import same_address

MOST_OCTETS = 256 * 1024
"""What a certificate may weigh; flooded ones are megabytes."""
MOST_CERTIFICATES = 8
WEAKEST_BITS = 2048
"""RSA, DSA and Elgamal keys below this are weak (NIST SP 800-57 part 1, since 2014)."""

BIT_ALGORITHMS = frozenset({1, 2, 3, 16, 17, 20})
"""RSA, Elgamal and DSA, whose strength is their size in bits."""

_PUBLIC_KEY = 6
_GPG_ALGORITHMS = frozenset({1, 2, 3, 16, 17, 18, 19, 20, 22})
_NAMES = {1: "rsa", 2: "rsa", 3: "rsa", 16: "elg", 17: "dsa", 18: "ecdh", 19: "ecdsa", 20: "elg",
          22: "eddsa"}  # fmt: skip
_BROKEN_HASHES = (HashAlgorithm.MD5, HashAlgorithm.SHA1, HashAlgorithm.RipeMD)


@dataclass(frozen=True, slots=True, repr=False)
class Inspected:
    """A certificate with our judgement, and its packets, binary, as they came."""

    certificate: Certificate
    content: bytes

    def __repr__(self) -> str:
        return f"Inspected({self.certificate.fingerprint}, {self.certificate.problem})"


# ── User IDs ─────────────────────────────────────────────────────────────────────────────────────

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS = re.compile(
    rf"{_ATEXT}(?:\.{_ATEXT})*@"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_NAMED = re.compile(r"[^<>@]*<([^<>@\s]+@[^<>@\s]+)>")
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")
_UNFIT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def addr_spec(user_id: str) -> str | None:
    """Return the one addr-spec of a user ID, its domain lower-cased, or None.

    Only ``name <addr-spec>`` and a bare ``addr-spec`` count (RFC 9580 section 5.11), in ASCII
    (RFC 5322 dot-atom); several addresses, and invisible, directional or control characters give
    none, so that nothing that merely looks like an address is taken for one.
    """
    if len(user_id) > 1024 or not fit_to_show(user_id):
        return None
    named = _NAMED.fullmatch(user_id)
    candidate = named[1] if named is not None else user_id
    if len(candidate) > 254 or _ADDRESS.fullmatch(candidate) is None:
        return None
    local, _, domain = candidate.rpartition("@")
    return f"{local}@{domain.lower()}"


def fit_to_show(text: str) -> bool:
    """Whether a text is free of control, format, private and line-separating characters."""
    return all(unicodedata.category(character) not in _UNFIT for character in text)


def unescape(raw: bytes) -> str:
    r"""Return a user ID of gpg's colon listing, where ``\x3a`` stands for an octet."""
    octets = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), raw)
    return octets.decode("utf-8", "replace")


# ── Inspection ───────────────────────────────────────────────────────────────────────────────────


def inspect(content: bytes, now: datetime) -> tuple[Inspected, ...]:
    """Return the certificates in ``content``, armored or binary, each with its problem or None.

    Content that is too large, or that is no certificate at all, gives one entry that says so,
    without a fingerprint.  Secret keys are none of our business and are malformed here.
    """
    if len(content) > MOST_OCTETS:
        return (_hopeless("too-large"),)
    pieces = [piece for blob in _binaries(content) for piece in _split(blob)]
    found = [_inspect(piece, now) for piece in pieces[:MOST_CERTIFICATES]]
    return tuple(found) if found else (_hopeless("malformed"),)


def _hopeless(problem: str) -> Inspected:
    return Inspected(Certificate("", (), problem=problem), b"")


def _binaries(content: bytes) -> list[bytes]:
    armored = [block for block in blocks(content) if block.kind is OpenPGPKind.PUBLIC_KEY]
    if armored:
        return [dearmor(content[block.start : block.end]) for block in armored]
    return [content]


def _split(blob: bytes) -> list[bytes]:
    """Cut a blob where a primary key begins; what is cut off or foreign at its end is dropped."""
    starts: list[int] = []
    end = 0
    for packet in walk(blob):
        if not packet.whole:
            break
        if packet.tag == _PUBLIC_KEY:
            starts.append(packet.start)
        end = packet.end
    return [blob[start:stop] for start, stop in pairwise([*starts, end])] if starts else []


class _UnreadableError(Exception):
    """pysequoia could not make sense of a certificate."""


@contextmanager
def _library() -> Iterator[None]:
    """Turn what pysequoia raises, its panics included, into _UnreadableError without its text."""
    try:
        yield
    except BaseException as exc:
        if isinstance(exc, RuntimeError) or type(exc).__name__ == "PanicException":
            raise _UnreadableError from None
        raise


@dataclass(frozen=True, slots=True)
class _Signature:
    """What we ask of a signature packet."""

    raw: bytes
    kind: SignatureType
    used_hash: HashAlgorithm
    issuer: str | None
    created: datetime
    encrypts: bool
    validity: timedelta | None


@dataclass(slots=True)
class _Component:
    """A key or user ID packet with the signatures that follow it."""

    packet: Packet
    raw: bytes
    signatures: list[_Signature] = field(default_factory=list)


def _inspect(piece: bytes, now: datetime) -> Inspected:
    version = _version(piece)
    try:
        with _library():
            cert = Cert.from_bytes(piece)
            components = _components(piece)
            if version != 4:
                return Inspected(_unsupported(cert, components), piece)
            return Inspected(_judge(cert, components, now), piece)
    except _UnreadableError:
        return _hopeless("malformed" if version == 4 else "unsupported-version")


def _unsupported(cert: Cert, components: Sequence[_Component]) -> Certificate:
    claimed = _claimed_addresses(components)
    return Certificate(cert.fingerprint.upper(), claimed, problem="unsupported-version")


def _version(piece: bytes) -> int:
    packet = next(walk(piece))
    return piece[packet.body] if packet.size else 0


def _components(piece: bytes) -> list[_Component]:
    """Return the packets of a certificate, signatures under what they sign.

    Signatures of unknown kinds or algorithms prove nothing to us and are passed over.
    """
    found: list[_Component] = []
    for packet in PacketPile.from_bytes(piece):
        if packet.tag != Tag.Signature:
            found.append(_Component(packet, bytes(packet)))
        elif found and (signature := _signature(packet)) is not None:
            found[-1].signatures.append(signature)
    return found


def _signature(packet: Packet) -> _Signature | None:
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
    return _Signature(raw, kind, used_hash, issuer, created, encrypts, validity)


def _judge(cert: Cert, components: Sequence[_Component], now: datetime) -> Certificate:
    primary = components[0]
    proven = _proven_encryption_keys(cert)
    usable = [
        key
        for key in (*_subkeys(components), primary)
        if _key_id(key) in proven and _state(key, now) is None
    ]
    usable.sort(key=lambda key: key.packet.key_created or now, reverse=True)
    problem = _problem(cert, components, usable, now)
    expires = min(filter(None, (_expiration(cert), *map(_expires, usable[:1]))), default=None)
    return Certificate(
        fingerprint=cert.fingerprint.upper(),
        addresses=_addresses(cert) if problem is None else _claimed_addresses(components),
        encryption_subkeys=tuple(_fingerprint(subkey) for subkey in usable),
        problem=problem,
        expires=expires,
        algorithm="/".join(_algorithm(one) for one in (primary, *usable[:1])),
    )


def _problem(
    cert: Cert, components: Sequence[_Component], usable: Sequence[_Component], now: datetime
) -> str | None:
    """Return the first thing that keeps us from using a certificate, or None."""
    primary, meant = components[0], _meant_to_encrypt(components)
    expiration = _expiration(cert)
    states = [_state(subkey, now) for subkey in meant]
    checks: Iterable[tuple[bool, str]] = (
        (not _readable_user_ids(components), "malformed"),
        (_foreign(primary) or (bool(meant) and all(map(_foreign, meant))), "unsupported-version"),
        (bool(cert.is_revoked), "revoked"),
        (_weak(primary) or (bool(meant) and all(map(_weak, meant))), "weak"),
        (_broken_bindings(components), "sha1-bindings"),
        (expiration is not None and expiration <= now, "expired"),
        (not any(one.packet.tag == Tag.UserID for one in components), "no-user-id"),
        (not usable and "expired" in states, "expired"),
        (not usable and "revoked" in states, "revoked"),
        (not usable and bool(meant) and not _addresses(cert), "malformed"),
        (not usable, "no-encryption-subkey"),
    )
    return next((problem for wrong, problem in checks if wrong), None)


def _proven_encryption_keys(cert: Cert) -> frozenset[str]:
    """Return the key ids to which a probe is encrypted: their bindings hold, by the policy.

    The library looks neither at expiry nor at revocation here (pysequoia 0.1.35); we do.
    """
    try:
        probe = encrypt(bytes=b"", recipients=[cert], armor=False)
    except RuntimeError:
        return frozenset()
    return frozenset(describe(probe).recipients)


def _addresses(cert: Cert) -> tuple[str, ...]:
    try:
        found = [addr_spec(str(user)) for user in cert.user_ids]
    except RuntimeError:
        return ()
    return tuple(dict.fromkeys(address for address in found if address is not None))


def _claimed_addresses(components: Sequence[_Component]) -> tuple[str, ...]:
    """Return what a certificate says of itself, proven or not: enough to name whose is unusable."""
    texts = [one.packet.user_id for one in components if one.packet.tag == Tag.UserID]
    found = [addr_spec(text) for text in texts if text is not None]
    return tuple(dict.fromkeys(address for address in found if address is not None))


def _expiration(cert: Cert) -> datetime | None:
    try:
        expiration: datetime | None = cert.expiration
    except RuntimeError:
        return None
    return expiration


def _readable_user_ids(components: Sequence[_Component]) -> bool:
    texts = [one.packet.user_id for one in components if one.packet.tag == Tag.UserID]
    return all(text is not None and len(text) <= 1024 and fit_to_show(text) for text in texts)


# ── Keys and their bindings ──────────────────────────────────────────────────────────────────────


def _subkeys(components: Sequence[_Component]) -> list[_Component]:
    return [one for one in components if one.packet.tag == Tag.PublicSubkey]


def _meant_to_encrypt(components: Sequence[_Component]) -> list[_Component]:
    return [one for one in _subkeys(components) if _encrypts(one)]


def _encrypts(subkey: _Component) -> bool:
    binding = _binding(subkey)
    return binding is not None and binding.encrypts


def _binding(subkey: _Component) -> _Signature | None:
    """Return the newest binding signature of a subkey."""
    bindings = [sig for sig in subkey.signatures if sig.kind == SignatureType.SubkeyBinding]
    return max(bindings, key=lambda sig: sig.created, default=None)


def _state(subkey: _Component, now: datetime) -> str | None:
    """Return ``revoked`` or ``expired``, or None for a subkey that stands."""
    if any(sig.kind == SignatureType.SubkeyRevocation for sig in subkey.signatures):
        return "revoked"
    expires = _expires(subkey)
    if expires is not None and expires <= now:
        return "expired"
    return "weak" if _weak(subkey) or _foreign(subkey) else None


def _expires(subkey: _Component) -> datetime | None:
    binding, created = _binding(subkey), subkey.packet.key_created
    validity = binding.validity if binding is not None else None
    return created + validity if created is not None and validity else None


def _broken_bindings(components: Sequence[_Component]) -> bool:
    """Whether every signature by which the owner binds user IDs is made with a broken hash."""
    own = [
        sig.used_hash
        for one in components
        if one.packet.tag == Tag.UserID
        for sig in one.signatures
        if sig.issuer in (None, components[0].packet.key_id)
    ]
    return bool(own) and all(used in _BROKEN_HASHES for used in own)


def _weak(component: _Component) -> bool:
    body = component.packet.body
    return body[5] in BIT_ALGORITHMS and int.from_bytes(body[6:8], "big") < WEAKEST_BITS


def _foreign(component: _Component) -> bool:
    """Whether gpg knows nothing of its algorithm (X25519, Ed448 and the like of RFC 9580)."""
    return component.packet.body[5] not in _GPG_ALGORITHMS


def _algorithm(component: _Component) -> str:
    body = component.packet.body
    size = str(int.from_bytes(body[6:8], "big")) if body[5] in BIT_ALGORITHMS else ""
    return _NAMES.get(body[5], "other") + size


def _fingerprint(component: _Component) -> str:
    try:
        return (component.packet.fingerprint or "").upper()
    except RuntimeError:  # a subkey of an unknown version
        return ""


def _key_id(component: _Component) -> str:
    return _fingerprint(component)[-16:]


# ── Cutting down ─────────────────────────────────────────────────────────────────────────────────


def only_address(content: bytes, address: str) -> bytes:
    """Return a certificate with no user ID but those of ``address``, and no signature of others.

    User attributes (pictures), certifications by third parties and unknown packets are left out;
    gpg's import merges what remains with what the ring has.
    """

    def named(user_id: str) -> bool:
        found = addr_spec(user_id)
        return found is not None and same_address(found, address)

    return _cut(content, user_id=named, subkey=bool)


def only_subkeys(content: bytes, fingerprints: Sequence[str]) -> bytes:
    """Return a certificate whose only subkeys are these, so that nothing else is encrypted to."""
    wanted = {fingerprint.upper() for fingerprint in fingerprints}
    return _cut(content, user_id=lambda _: True, subkey=lambda fingerprint: fingerprint in wanted)


def _cut(content: bytes, *, user_id: Callable[[str], bool], subkey: Callable[[str], bool]) -> bytes:
    components = _components(content)
    primary_id = components[0].packet.key_id
    kept: list[bytes] = []
    for one in components:
        if _kept(one, user_id, subkey):
            own = [sig.raw for sig in one.signatures if sig.issuer in (None, primary_id)]
            kept += [one.raw, *own]
    return b"".join(kept)


def _kept(
    component: _Component, user_id: Callable[[str], bool], subkey: Callable[[str], bool]
) -> bool:
    tag = component.packet.tag
    if tag == Tag.UserID:
        return user_id(component.packet.user_id or "")
    if tag == Tag.PublicSubkey:
        return subkey(_fingerprint(component))
    return bool(tag == Tag.PublicKey)

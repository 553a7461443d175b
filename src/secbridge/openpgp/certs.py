"""Is this stranger's certificate fit to answer to?  Looked at in-process, before gpg sees a byte.

pysequoia proves the bindings of what a certificate claims (its standard policy: no SHA-1); the
packets tell strength, expiry, revocation and version.  Keys that the library will not look at (RSA
below 2048 bits, the Brainpool curves) are judged by their packets alone, and gpg, which takes no
user ID or subkey without a valid signature of its owner, proves them at import.  What passes is cut
down to one address, its own signatures and the keys that encrypt or sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from pysequoia import Cert, encrypt
from pysequoia.packet import Tag

from secbridge.mail.armor import OpenPGPKind, blocks, dearmor
from secbridge.mail.packets import describe, walk
from secbridge.openpgp.claims import (
    Claims,
    Component,
    UnreadableError,
    components,
    library,
    user_ids,
)
from secbridge.openpgp.strength import REPORTER, Bounds, warnings
from secbridge.openpgp.userids import addr_spec, named
from secbridge.ports import Certificate
from secbridge.rules.structure import same_address

MOST_OCTETS = 256 * 1024
"""What a certificate may weigh; flooded ones are megabytes."""
MOST_CERTIFICATES = 8

_PUBLIC_KEY = 6


@dataclass(frozen=True, slots=True, repr=False)
class Inspected:
    """A certificate with our judgement, and its packets, binary, as they came.

    ``problems`` are all that is wrong, the worst first; ``Certificate.problem`` is the first.
    ``user_ids`` are what its owner wrote, whatever that is: no terminal may see it raw.
    ``proven``: whoever has the secret of the primary key made it, and not just somebody.
    """

    certificate: Certificate
    content: bytes
    problems: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = ()
    proven: bool = False

    def __repr__(self) -> str:
        return f"Inspected({self.certificate.fingerprint}, {self.certificate.problem})"


# ── Inspection ───────────────────────────────────────────────────────────────────────────────────


def inspect(content: bytes, now: datetime, bounds: Bounds = REPORTER) -> tuple[Inspected, ...]:
    """Return the certificates in ``content``, armored or binary, each with its problem or None.

    ``bounds`` say how strong they must be.  Content that is too large, or that is no certificate
    at all, gives one entry that says so, without a fingerprint.  Secret keys are none of our
    business and are malformed here.
    """
    if len(content) > MOST_OCTETS:
        return (_hopeless("too-large"),)
    pieces = [piece for blob in _binaries(content) for piece in _split(blob)]
    found = [_inspect(piece, now, bounds) for piece in pieces[:MOST_CERTIFICATES]]
    return tuple(found) if found else (_hopeless("malformed"),)


def _hopeless(problem: str) -> Inspected:
    return Inspected(Certificate("", (), problem=problem), b"", (problem,))


UNREADABLE = _hopeless("malformed")
"""What nobody can make sense of, and is nobody's."""


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


def _inspect(piece: bytes, now: datetime, bounds: Bounds) -> Inspected:
    version = _version(piece)
    try:
        with library():
            cert, found = Cert.from_bytes(piece), components(piece)
            if version != 4:
                return _unsupported(cert, found, piece)
            return _judge(Claims(cert, found), piece, now, bounds)
    except UnreadableError:
        return _hopeless("malformed" if version == 4 else "unsupported-version")


def _version(piece: bytes) -> int:
    packet = next(walk(piece))
    return piece[packet.body] if packet.size else 0


def _unsupported(cert: Cert, found: Sequence[Component], piece: bytes) -> Inspected:
    problem, names = "unsupported-version", user_ids(found)
    certificate = Certificate(cert.fingerprint.upper(), named(names), problem=problem)
    return Inspected(certificate, piece, (problem,), names)


def _judge(claims: Claims, piece: bytes, now: datetime, bounds: Bounds) -> Inspected:
    usable = _usable(claims, now, bounds)
    problems = _problems(claims, usable, now, bounds)
    used = (claims.primary, *usable[:1])
    expires = min(filter(None, (claims.expiration, *map(claims.expires, usable[:1]))), default=None)
    weak = any(bounds.warns(key.algorithm, key.bits) for key in used)
    certificate = Certificate(
        fingerprint=claims.cert.fingerprint.upper(),
        addresses=named(claims.user_ids) if problems else claims.addresses,
        encryption_subkeys=tuple(key.fingerprint for key in usable),
        problem=problems[0] if problems else None,
        expires=expires,
        algorithm="/".join(key.name for key in used),
        warnings=() if problems else warnings(weak=weak, expires=expires, now=now),
    )
    proven = not problems and not claims.left_to_gpg
    return Inspected(certificate, piece, problems, claims.user_ids, proven)


def _usable(claims: Claims, now: datetime, bounds: Bounds) -> list[Component]:
    """Return the keys that may be encrypted to, newest first."""
    bound = _bound_encryption_keys(claims)
    usable = [
        key
        for key in (*claims.subkeys, claims.primary)
        if key.key_id in bound
        and claims.state(key, now) is None
        and not key.foreign
        and not bounds.refuses(key.algorithm, key.bits)
    ]
    return sorted(usable, key=lambda key: key.packet.key_created or now, reverse=True)


def _bound_encryption_keys(claims: Claims) -> frozenset[str]:
    """Return the key ids of the keys that are bound for encryption, proven or left to gpg.

    The library proves it by encrypting a probe.  It looks neither at expiry nor at revocation here
    (pysequoia 0.1.35); we do.
    """
    claimed = [key for key in (*claims.subkeys, claims.primary) if claims.encrypts(key)]
    left = {key.key_id for key in claimed if claims.left_to_gpg or key.unproven}
    try:
        probe = encrypt(bytes=b"", recipients=[claims.cert], armor=False)
    except RuntimeError:
        return frozenset(left)
    return frozenset({*describe(probe).recipients, *left})


def _problems(
    claims: Claims, usable: Sequence[Component], now: datetime, bounds: Bounds
) -> tuple[str, ...]:
    """Return all that keeps us from using a certificate, the worst first."""

    def too_weak(key: Component) -> bool:
        return bounds.refuses(key.algorithm, key.bits)

    primary, meant, expiration = claims.primary, claims.meant, claims.expiration
    foreign = primary.foreign or (bool(meant) and all(key.foreign for key in meant))
    states = [claims.state(key, now) for key in meant]
    checks: Iterable[tuple[bool, str]] = (
        (not claims.readable_user_ids, "malformed"),
        (foreign, "unsupported-version"),
        (claims.revoked, "revoked"),
        (too_weak(primary) or (bool(meant) and all(map(too_weak, meant))), "weak"),
        (claims.broken_bindings, "sha1-bindings"),
        (expiration is not None and expiration <= now, "expired"),
        (not claims.user_ids, "no-user-id"),
        (not usable and "expired" in states, "expired"),
        (not usable and "revoked" in states, "revoked"),
    )
    found = tuple(dict.fromkeys(problem for wrong, problem in checks if wrong))
    if found or usable:
        return found
    return ("malformed" if meant and not claims.addresses else "no-encryption-subkey",)


def fingerprints(content: bytes) -> tuple[str, ...]:
    """Return those of all keys in a certificate that was inspected, the primary first."""
    keys = (Tag.PublicKey, Tag.PublicSubkey)
    return tuple(one.fingerprint for one in components(content) if one.packet.tag in keys)


# ── Cutting down ─────────────────────────────────────────────────────────────────────────────────


def with_key(content: bytes, fingerprint: str) -> bytes:
    """Return, of certificates that nobody looked at yet, the one with this key; else nothing."""
    if len(content) > MOST_OCTETS:
        return b""
    for piece in [piece for blob in _binaries(content) for piece in _split(blob)]:
        with suppress(UnreadableError), library():
            if fingerprint in fingerprints(piece):
                return piece
    return b""


def with_primary(content: bytes, fingerprint: str) -> bytes:
    """Return the certificate with this primary key; gpg gives also those with it as a subkey."""
    pieces = _split(content)
    if len(pieces) < 2:
        return content
    return next(piece for piece in pieces if fingerprints(piece)[0] == fingerprint)


def only_address(content: bytes, address: str) -> bytes:
    """Return a certificate with no user ID but those of ``address``, and no signature of others.

    User attributes (pictures), certifications by third parties and unknown packets are left out;
    gpg's import merges what remains with what the ring has.
    """

    def names_it(user_id: str) -> bool:
        found = addr_spec(user_id)
        return found is not None and same_address(found, address)

    return _cut(content, user_id=names_it, subkey=bool)


def only_subkeys(content: bytes, fingerprints: Sequence[str]) -> bytes:
    """Return a certificate whose only subkeys are these, so that nothing else is encrypted to."""
    wanted = {fingerprint.upper() for fingerprint in fingerprints}
    return _cut(content, user_id=lambda _: True, subkey=lambda fingerprint: fingerprint in wanted)


def _cut(content: bytes, *, user_id: Callable[[str], bool], subkey: Callable[[str], bool]) -> bytes:
    found = components(content)
    primary_id = found[0].packet.key_id
    kept: list[bytes] = []
    for one in found:
        if _kept(one, user_id, subkey):
            own = [sig.raw for sig in one.signatures if sig.issuer in (None, primary_id)]
            kept += [one.raw, *own]
    return b"".join(kept)


def _kept(
    component: Component, user_id: Callable[[str], bool], subkey: Callable[[str], bool]
) -> bool:
    tag = component.packet.tag
    if tag == Tag.UserID:
        return user_id(component.packet.user_id or "")
    if tag == Tag.PublicSubkey:
        return subkey(component.fingerprint)
    return bool(tag == Tag.PublicKey)

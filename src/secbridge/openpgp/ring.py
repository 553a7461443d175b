"""What does gpg say is in the key ring?  Its colon listing, read strictly, and judged by us.

Pure: bytes to values.  Lines end at LF alone and fields are taken by their place (GnuPG,
doc/DETAILS, "Format of the --with-colons listings"); user IDs are text of strangers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from secbridge.openpgp.strength import REPORTER, Bounds, warnings
from secbridge.openpgp.userids import addr_spec, unescape
from secbridge.ports import Certificate

_INVALID = frozenset("reidn")
"""Validity letters: revoked, expired, invalid, disabled, never trusted."""
_NAMES = {1: "rsa", 2: "rsa", 3: "rsa", 16: "elg", 17: "dsa", 20: "elg"}


@dataclass(frozen=True, slots=True)
class RingKey:
    """One primary key or subkey of the ring.  ``secret``: its secret part is at hand."""

    fingerprint: str
    validity: str
    algorithm: int
    bits: int
    curve: str
    capabilities: str
    created: int
    expires: int
    secret: bool
    keygrip: str = ""

    @property
    def key_id(self) -> str:
        """The key id that a message names (the last 16 digits of a v4 fingerprint)."""
        return self.fingerprint[-16:]

    @property
    def name(self) -> str:
        """The algorithm as people say it, ``ed25519`` or ``rsa4096``."""
        return self.curve or f"{_NAMES.get(self.algorithm, 'algorithm-')}{self.bits}"

    def expired(self, now: float) -> bool:
        """Whether it is past its time."""
        return self.validity == "e" or 0 < self.expires <= now

    def encrypts(self) -> bool:
        """Whether it is meant for encryption."""
        return "e" in self.capabilities


@dataclass(frozen=True, slots=True)
class RingUser:
    """One user ID; ``text`` is what its owner wrote."""

    validity: str
    text: str
    expires: int = 0


@dataclass(frozen=True, slots=True)
class RingCertificate:
    """One certificate of the ring."""

    primary: RingKey
    subkeys: tuple[RingKey, ...] = ()
    users: tuple[RingUser, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The primary fingerprint."""
        return self.primary.fingerprint

    @property
    def keys(self) -> tuple[RingKey, ...]:
        """The primary key and the subkeys."""
        return (self.primary, *self.subkeys)

    @property
    def secret(self) -> bool:
        """Whether any secret part is at hand."""
        return any(key.secret for key in self.keys)

    def addresses(self, now: float) -> tuple[str, ...]:
        """Return the addr-specs of the valid user IDs, each once."""
        if self.primary.expired(now):
            return ()
        valid = (user for user in self.users if user.validity not in _INVALID)
        found = (addr_spec(user.text) for user in valid if not 0 < user.expires <= now)
        return tuple(dict.fromkeys(address for address in found if address is not None))


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Reading:
    keys: list[RingKey] = field(default_factory=list)
    users: list[RingUser] = field(default_factory=list)

    def done(self) -> RingCertificate:
        return RingCertificate(self.keys[0], tuple(self.keys[1:]), tuple(self.users))


def parse_listing(listing: bytes) -> tuple[RingCertificate, ...]:
    """Return the certificates of a ``--with-colons --fingerprint --fingerprint`` listing."""
    found: list[_Reading] = []
    for line in listing.split(b"\n"):
        fields = line.split(b":")
        if len(fields) < 10:
            continue
        if fields[0] in (b"pub", b"sec"):
            found.append(_Reading([_key(fields)]))
        elif found:
            _take(found[-1], fields)
    return tuple(
        reading.done() for reading in found if all(key.fingerprint for key in reading.keys)
    )


def _take(reading: _Reading, fields: Sequence[bytes]) -> None:
    kind = fields[0]
    if kind in (b"sub", b"ssb"):
        reading.keys.append(_key(fields))
    elif kind == b"fpr" and not reading.keys[-1].fingerprint:
        reading.keys[-1] = replace(reading.keys[-1], fingerprint=_text(fields, 9))
    elif kind == b"grp":
        reading.keys[-1] = replace(reading.keys[-1], keygrip=_text(fields, 9))
    elif kind == b"uid":
        reading.users.append(RingUser(_text(fields, 1), unescape(fields[9]), _number(fields, 6)))


def _key(fields: Sequence[bytes]) -> RingKey:
    return RingKey(
        fingerprint="",
        validity=_text(fields, 1),
        algorithm=_number(fields, 3),
        bits=_number(fields, 2),
        curve=_text(fields, 16),
        capabilities="".join(letter for letter in _text(fields, 11) if letter.islower()),
        created=_number(fields, 5),
        expires=_number(fields, 6),
        secret=_text(fields, 14) not in ("", "#"),
    )


def _text(fields: Sequence[bytes], index: int) -> str:
    return fields[index].decode("ascii", "replace") if index < len(fields) else ""


def _number(fields: Sequence[bytes], index: int) -> int:
    text = _text(fields, index)
    return int(text) if text.isascii() and text.isdigit() else 0


# ── Judging ──────────────────────────────────────────────────────────────────────────────────────


def judge(found: RingCertificate, now: float, bounds: Bounds = REPORTER) -> Certificate:
    """Return a certificate as we judge it at ``now`` (seconds since 1970) by these bounds."""
    usable = encryption_keys(found, now, bounds)
    soonest = min((key.expires for key in (found.primary, *usable[:1]) if key.expires), default=0)
    expires = datetime.fromtimestamp(soonest, UTC) if soonest else None
    problem = _problem(found, usable, now, bounds)
    return Certificate(
        fingerprint=found.fingerprint,
        addresses=found.addresses(now),
        encryption_subkeys=tuple(key.fingerprint for key in usable),
        problem=problem,
        expires=expires,
        algorithm="/".join(key.name for key in (found.primary, *usable[:1])),
        warnings=() if problem else _warnings((found.primary, *usable[:1]), expires, now, bounds),
    )


def encryption_keys(
    found: RingCertificate, now: float, bounds: Bounds = REPORTER
) -> tuple[RingKey, ...]:
    """Return the keys that may be encrypted to now, newest first, the primary key last."""
    if found.primary.validity in _INVALID or found.primary.expired(now):
        return ()
    valid = [key for key in found.subkeys if _usable(key, now, bounds)]
    newest = sorted(valid, key=lambda key: key.created, reverse=True)
    return (*newest, *([found.primary] if _usable(found.primary, now, bounds) else []))


def _usable(key: RingKey, now: float, bounds: Bounds) -> bool:
    in_force = key.validity not in _INVALID and not key.expired(now)
    return key.encrypts() and in_force and not bounds.refuses(key.algorithm, key.bits)


def _warnings(
    used: Sequence[RingKey], expires: datetime | None, now: float, bounds: Bounds
) -> tuple[str, ...]:
    weak = any(bounds.warns(key.algorithm, key.bits) for key in used)
    return warnings(weak=weak, expires=expires, now=datetime.fromtimestamp(now, UTC))


def _problem(
    found: RingCertificate, usable: Sequence[RingKey], now: float, bounds: Bounds
) -> str | None:
    primary = found.primary
    if primary.validity == "r":
        return "revoked"
    if primary.expired(now):
        return "expired"
    if primary.validity in _INVALID:
        return "malformed"
    if bounds.refuses(primary.algorithm, primary.bits):
        return "weak"
    if not found.users:
        return "no-user-id"
    return None if usable else _why_unusable(found.keys, now, bounds)


def _why_unusable(keys: Iterable[RingKey], now: float, bounds: Bounds) -> str:
    meant = [key for key in keys if key.encrypts()]
    if any(key.expired(now) for key in meant):
        return "expired"
    if any(bounds.refuses(key.algorithm, key.bits) for key in meant):
        return "weak"
    return "revoked" if any(key.validity == "r" for key in meant) else "no-encryption-subkey"

"""Is a key strong enough?  All algorithms on one scale: the RSA key that is as hard to break.

NIST SP 800-57 part 1 (revision 5, table 2) compares them.  How much is enough is the operator's
policy, one for reporters and a stricter one for members and role keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

SOON = timedelta(days=30)
"""How long before its expiry the owner of a key is warned."""

_BY_SIZE = frozenset({1, 2, 3, 16, 17, 20})
"""RSA, Elgamal and DSA (RFC 9580 section 9.1), whose strength is their size in bits."""
_BY_CURVE = frozenset({18, 19, 22})
"""ECDH, ECDSA and EdDSA, whose strength is half the size of their curve."""
_CURVES = ((512, 15360), (384, 7680), (255, 3072), (224, 2048), (160, 1024))
"""Sizes of curves from which on they are as strong as RSA of so many bits.

The table says 256; Curve25519 is counted there, too (NIST SP 800-186 section 3.1.2).
"""


def rsa_equivalent(algorithm: int, bits: int) -> int | None:
    """Return the size of the RSA key that is as strong; None for an algorithm not compared here.

    ``algorithm`` is OpenPGP's number of it, ``bits`` the size of the modulus or of the curve.  A
    curve smaller than any in the table is as strong as nothing.
    """
    if algorithm in _BY_SIZE:
        return bits
    if algorithm in _BY_CURVE:
        return next((as_rsa for curve, as_rsa in _CURVES if bits >= curve), 0)
    return None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is asked of a key, in bits of RSA: to be used at all, and to be used without a word."""

    refuse_below: int
    warn_below: int

    def refuses(self, algorithm: int, bits: int) -> bool:
        """Whether a key is too weak to be used."""
        return _below(algorithm, bits, self.refuse_below)

    def warns(self, algorithm: int, bits: int) -> bool:
        """Whether the owner of a key should have a stronger one."""
        return _below(algorithm, bits, self.warn_below)


def _below(algorithm: int, bits: int, least: int) -> bool:
    found = rsa_equivalent(algorithm, bits)
    return found is not None and found < least


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """The operator's policy, in bits of RSA: the table ``[keys]`` of the configuration."""

    reporter_warn_below: int = 2048
    reporter_refuse_below: int = 1024
    own_refuse_below: int = 2048

    def bounds(self, *, own: bool) -> Bounds:
        """Return what is asked of a key; ``own``: of a role or of a member."""
        if own:
            return Bounds(self.own_refuse_below, self.own_refuse_below)
        return Bounds(self.reporter_refuse_below, self.reporter_warn_below)


REPORTER = KeyLimits().bounds(own=False)
"""What is asked of a reporter's key where the operator decided nothing."""


def warnings(*, weak: bool, expires: datetime | None, now: datetime) -> tuple[str, ...]:
    """Return the codes of ``Certificate.warnings`` for a key that can be used."""
    soon = expires is not None and expires - now < SOON
    return tuple(code for code, holds in (("weak", weak), ("expires-soon", soon)) if holds)

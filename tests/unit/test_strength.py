"""How strong keys are on one scale, and what the operator's limits make of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from secbridge.openpgp.strength import KeyLimits, rsa_equivalent, warnings

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RSA, ELGAMAL, DSA, ECDH, ECDSA, EDDSA = 1, 16, 17, 18, 19, 22


@pytest.mark.parametrize(
    ("algorithm", "bits", "expected"),
    [
        (RSA, 1024, 1024),
        (ELGAMAL, 2048, 2048),
        (DSA, 3072, 3072),
        (ECDSA, 112, 0),
        (ECDH, 160, 1024),
        (ECDSA, 192, 1024),
        (ECDSA, 224, 2048),
        (EDDSA, 255, 3072),
        (EDDSA, 256, 3072),
        (ECDH, 384, 7680),
        (EDDSA, 448, 7680),
        (ECDSA, 521, 15360),
        (99, 4096, None),
    ],
)
def test_all_algorithms_are_on_the_scale_of_nist(
    algorithm: int, bits: int, expected: int | None
) -> None:
    """SP 800-57 part 1, table 2: a curve of 256 bits is as strong as RSA 3072."""
    assert expected == rsa_equivalent(algorithm, bits)


@pytest.mark.parametrize(
    ("bits", "own", "refused", "warned"),
    [
        (1023, False, True, True),
        (1024, False, False, True),
        (2047, False, False, True),
        (2048, False, False, False),
        (2047, True, True, True),
        (2048, True, False, False),
    ],
)
def test_the_defaults_are_milder_with_reporters(
    bits: int, own: bool, refused: bool, warned: bool
) -> None:
    """A reporter's old key is better than no encryption; our own have no excuse."""
    bounds = KeyLimits().bounds(own=own)
    assert (refused, warned) == (bounds.refuses(RSA, bits), bounds.warns(RSA, bits))


def test_what_cannot_be_compared_is_not_called_weak() -> None:
    """A newer algorithm that gpg has learned is no reason to send a reporter away."""
    bounds = KeyLimits().bounds(own=True)
    assert (False, False) == (bounds.refuses(99, 0), bounds.warns(99, 0))


@pytest.mark.parametrize(
    ("left", "expected"),
    [(None, ()), (timedelta(days=30), ()), (timedelta(days=29, hours=23), ("expires-soon",))],
)
def test_the_owner_is_warned_thirty_days_before(
    left: timedelta | None, expected: tuple[str, ...]
) -> None:
    """A key that never expires needs no warning."""
    expires = None if left is None else NOW + left
    assert expected == warnings(weak=False, expires=expires, now=NOW)
    assert ("weak", *expected) == warnings(weak=True, expires=expires, now=NOW)

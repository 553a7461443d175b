"""What is a good name for a delivery, a case, an address that nobody can guess?"""

from __future__ import annotations

import secrets
from base64 import b32encode
from datetime import UTC, datetime, timedelta
from uuid import uuid4

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base32, lower case: sorts as its numbers do, without i, l, o and u."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM_BITS = 25


class DeliveryIds:
    """Makes ``d-1jx5k3m9a-q7vz2``: 9 digits of time in milliseconds, 5 random ones (25 bits).

    Short enough for the telephone, sorted by age, new in this process for ever; two processes that
    take mail in the same millisecond meet with a chance of 1 to 33 million, and then the second
    mail is refused for now and comes again.  An id is a name and opens no door: 25 bits only keep
    strangers from counting our mail.
    """

    def __init__(self) -> None:
        self._last = 0

    def new(self, now: datetime) -> str:
        """Return an id that sorts after every earlier one of this object."""
        time = (now - _EPOCH) // timedelta(milliseconds=1)
        number = time << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        if number >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
            number = self._last + 1 + secrets.randbits(8)  # same millisecond, or a clock set back
        self._last = number
        text = "".join(ALPHABET[number >> shift & 31] for shift in range(65, -1, -5))
        return f"d-{text[:9]}-{text[9:]}"


def new_token() -> str:
    """Return 128 random bits as 26 characters of ``[a-z2-7]`` (RFC 4648 section 6, lower case)."""
    return b32encode(secrets.token_bytes(16)).decode("ascii").rstrip("=").lower()


def new_marker() -> str:
    """Return a random UUID (RFC 9562 section 5.4)."""
    return str(uuid4())


def new_owner() -> str:
    """Return a name for this process's leases."""
    return secrets.token_hex(8)

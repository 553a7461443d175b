"""How do we know our own mail again?  By names that nobody else can make.

Message-ID and origin header are HMACs under a secret of the installation.  Neither alone makes a
mail ours: anybody who has got a mail of ours can copy both, so whoever asks compares the hash of
the body too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

ORIGIN_HEADER = "X-Secbridge-Origin"
"""The header field that says which of our mails this is."""

LEAST_NUMBER, NUMBERS = 1000, 10**12
"""From which number on letters are counted, and how many numbers there are for them."""

SECRET_OCTETS = 32
"""The least size of the installation's secret."""


def message_id(secret: bytes, case_id: str, step: str, domain: str) -> str:
    """Return ``<…@domain>``: the same case and step always get the same Message-ID.

    So a mail that is built or sent twice is one mail for every reader (RFC 5322 section 3.6.4).
    """
    return f"<sb.{_tag(secret, 'message-id', case_id, step, domain)}@{domain}>"


def origin(secret: bytes, *, case_id: str, step: str, message_id: str) -> str:
    """Return the value of ``X-Secbridge-Origin``; it says nothing to anyone but us."""
    return f"v1={_tag(secret, 'origin', case_id, step, message_id)}"


def verify_origin(secret: bytes, value: str, *, case_id: str, step: str, message_id: str) -> bool:
    """Return, in constant time, whether ``value`` is our origin header for this very mail."""
    expected = origin(secret, case_id=case_id, step=step, message_id=message_id)
    return hmac.compare_digest(expected.encode(), value.strip().encode("utf-8", "replace"))


def letter_number(secret: bytes, case_id: str, key: str) -> int:
    """Return the number of what an event has said: the same event always the same number."""
    digest = hmac.new(secret, f"letter\0{case_id}\0{key}".encode(), hashlib.sha256).digest()
    return LEAST_NUMBER + int.from_bytes(digest[:8], "big") % NUMBERS


def text_digest(secret: bytes, text: str) -> bytes:
    """Return what tells whether a text was changed, and nothing about it (32 octets)."""
    return hmac.new(secret, b"text\0" + text.encode(), hashlib.sha256).digest()


def _tag(secret: bytes, purpose: str, *parts: str) -> str:
    """Return 130 bits of HMAC-SHA256 over the parts, each with its length before it, in base 32."""
    if len(secret) < SECRET_OCTETS:
        raise ValueError("the installation's secret is too short")
    fields = [part.encode() for part in (purpose, *parts)]
    content = b"".join(len(part).to_bytes(4, "big") + part for part in fields)
    digest = hmac.digest(secret, content, "sha256")
    return base64.b32encode(digest).decode().lower()[:26]

"""Is this the mail that we have already?  A key that a second hand-over does not change.

A client that lost our 250 hands the same mail over again (RFC 5321 section 4.2.5), and on its way
the mail gathers other trace fields.  The key is a hash over the Message-ID and the content without
these; another body under the same Message-ID is another mail.

Left out are the fields that a server, not an author, puts in, and that differ from one hand-over to
the next:

- ``Return-Path``, ``Received``: trace information (RFC 5321 section 4.4).
- ``Delivered-To`` (RFC 9228), ``X-Original-To``, ``Envelope-To``: the final MTA's (Postfix, qmail,
  Exim) note of the recipient; one mail to two aliases differs in nothing else.
- ``Authentication-Results`` (RFC 8601), ``Received-SPF`` (RFC 7208 section 9.1), ``ARC-*``
  (RFC 8617): verdicts and seals of each server, with its times.
"""

from __future__ import annotations

import hashlib
import re

HEADER_LIMIT = 256 * 1024
"""A header longer than this is hashed as it is: it can only make a duplicate look new."""

_BLANK_LINE = re.compile(rb"(?:\A|\n)(\r?\n)")
_FIELD = rb"[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)"
_TRACE = re.compile(
    rb"^(?:return-path|received|delivered-to|x-original-to|envelope-to|authentication-results"
    rb"|received-spf|arc-[!-9;-~]*)" + _FIELD,
    re.IGNORECASE | re.MULTILINE,
)
_MESSAGE_ID = re.compile(rb"^message-id" + _FIELD, re.IGNORECASE | re.MULTILINE)


def content_key(content: bytes) -> bytes:
    """Return 32 octets that name this mail, whatever servers wrote on top of it.

    Linear in the length of ``content``, for any bytes; ``content`` is never copied whole.
    """
    view = memoryview(content)
    end = _header_end(content)
    message_id = _message_id(content, end)
    digest = hashlib.sha256(b"secbridge mail 1\0")
    digest.update(len(message_id).to_bytes(4, "big") + message_id)
    start = 0
    for field in _TRACE.finditer(content, 0, end):
        digest.update(view[start : field.start()])
        start = field.end()
    digest.update(view[start:])
    return digest.digest()


def _header_end(content: bytes) -> int:
    """Return where the header ends, or 0 when it is too long to look into."""
    blank = _BLANK_LINE.search(content, 0, HEADER_LIMIT)
    if blank is not None:
        return blank.start(1)
    return len(content) if len(content) < HEADER_LIMIT else 0


def _message_id(content: bytes, end: int) -> bytes:
    """Return the first Message-ID as written, unfolded; b"" when there is none (RFC 5322 3.6.4)."""
    found = _MESSAGE_ID.search(content, 0, end)
    return b"" if found is None else b"".join(found.group().partition(b":")[2].split())

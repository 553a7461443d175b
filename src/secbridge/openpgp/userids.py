"""Whose certificate is it?  The one address in a user ID, which is text of a stranger."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

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
    if text.isascii():
        return text.isprintable()  # of ASCII only the control characters are not
    return all(unicodedata.category(character) not in _UNFIT for character in text)


def unescape(raw: bytes) -> str:
    r"""Return a user ID of gpg's colon listing, where ``\x3a`` stands for an octet."""
    octets = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), raw)
    return octets.decode("utf-8", "replace")


def named(user_ids: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses in user IDs, each once."""
    found = [addr_spec(text) for text in user_ids]
    return tuple(dict.fromkeys(address for address in found if address is not None))

"""Where does OpenPGP begin and end in a text?  ASCII armor, found and undone in linear time.

Armor is found by its header lines alone (RFC 9580 section 6.2); what stands inside is for
``mail.packets`` to look at and for the openpgp room to judge.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice


class OpenPGPKind(StrEnum):
    """What a piece of OpenPGP is, as far as its outside tells.

    ``MESSAGE`` claims to be encrypted; ``SIGNED_MESSAGE`` is signed (or merely packed) data that
    anybody can read, told apart from it by its packets; ``CLEARTEXT`` is the cleartext signature
    framework (RFC 9580 section 7).
    """

    MESSAGE = "message"
    SIGNED_MESSAGE = "signed-message"
    SIGNATURE = "signature"
    PUBLIC_KEY = "public-key"
    PRIVATE_KEY = "private-key"
    CLEARTEXT = "cleartext"


@dataclass(frozen=True, slots=True)
class ArmorBlock:
    """One armored block, ``text[start:end]``, from its header line to the end of its tail line.

    ``complete`` is False when the tail line is missing; the block then ends where the next one
    begins, or with the text.  ``kind`` is what the header line claims.  ``quoted``: each line has
    a mark of quotation or blanks before it.
    """

    start: int
    end: int
    kind: OpenPGPKind
    complete: bool = True
    quoted: bool = False


_BOM = b"\xef\xbb\xbf"
_MOST_QUOTED = 64
_LINE = re.compile(
    rb"^-----(BEGIN|END) PGP "
    rb"(SIGNED MESSAGE|MESSAGE|SIGNATURE|PUBLIC KEY BLOCK|PRIVATE KEY BLOCK|SECRET KEY BLOCK)"
    rb"-----[ \t]*\r?$",
    re.MULTILINE,
)
_STUFFED = re.compile(_LINE.pattern.replace(b"^-", b"^ ?-", 1), re.MULTILINE)
_QUOTED = re.compile(rb"^[ \t>]{1,40}-----(BEGIN|END) PGP MESSAGE-----[ \t]*\r?$", re.MULTILINE)
_MARKS = re.compile(rb"^[ \t>]{1,40}", re.MULTILINE)
_KINDS = {
    b"MESSAGE": OpenPGPKind.MESSAGE,
    b"SIGNED MESSAGE": OpenPGPKind.CLEARTEXT,
    b"SIGNATURE": OpenPGPKind.SIGNATURE,
    b"PUBLIC KEY BLOCK": OpenPGPKind.PUBLIC_KEY,
    b"PRIVATE KEY BLOCK": OpenPGPKind.PRIVATE_KEY,
    b"SECRET KEY BLOCK": OpenPGPKind.PRIVATE_KEY,
}
_HEADERS = re.compile(rb"\r?\n?(?:[^\r\n:]{1,64}:[^\r\n]{0,1024}\r?\n){0,32}(?:[ \t]*\r?\n)*")
_NOT_BASE64 = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
)


def blocks(text: bytes, *, stuffed: bool = False) -> list[ArmorBlock]:
    """Return the armored blocks that begin at the start of a line, in order; they never overlap.

    A clear-signed text is one block, from ``BEGIN PGP SIGNED MESSAGE`` to the end of its
    signature.  Quoted armor (``> -----BEGIN``) is text.  ``stuffed``: a blank may stand before any
    line (RFC 3676 section 4.4).
    """
    return list(_blocks(text, _STUFFED if stuffed else _LINE))


def _blocks(text: bytes, pattern: re.Pattern[bytes]) -> Iterator[ArmorBlock]:
    begun: ArmorBlock | None = None
    for line in pattern.finditer(text):
        kind, begins = _KINDS[line[2]], line[1] == b"BEGIN"
        if begun is None:
            begun = ArmorBlock(line.start(), len(text), kind, complete=False) if begins else None
        elif not begins and kind is _tail(begun.kind):
            yield ArmorBlock(begun.start, line.end(), begun.kind)
            begun = None
        elif begins and not _continues(begun.kind, kind):
            yield ArmorBlock(begun.start, line.start(), begun.kind, complete=False)
            begun = ArmorBlock(line.start(), len(text), kind, complete=False)
    if begun is not None:
        yield begun


def all_blocks(text: bytes, *, stuffed: bool = False) -> list[ArmorBlock]:
    """Return the blocks of ``blocks`` and the quoted messages between them, in order."""
    found = blocks(text, stuffed=stuffed)
    quoted = [
        one
        for one in _quoted_blocks(text)
        if not any(one.start < block.end and block.start < one.end for block in found)
    ]
    return sorted([*found, *quoted], key=lambda block: block.start)


def _quoted_blocks(text: bytes) -> Iterator[ArmorBlock]:
    start: int | None = None
    for line in islice(_QUOTED.finditer(text), _MOST_QUOTED):
        if line[1] == b"BEGIN":
            start = line.start()
        elif start is not None:
            yield ArmorBlock(start, line.end(), OpenPGPKind.MESSAGE, quoted=True)
            start = None


def unquoted(armored: bytes) -> bytes:
    """Return a quoted block without the marks before its lines."""
    return _MARKS.sub(b"", armored)


def _tail(kind: OpenPGPKind) -> OpenPGPKind:
    return OpenPGPKind.SIGNATURE if kind is OpenPGPKind.CLEARTEXT else kind


def _continues(begun: OpenPGPKind, kind: OpenPGPKind) -> bool:
    return begun is OpenPGPKind.CLEARTEXT and kind is OpenPGPKind.SIGNATURE


def armor_kind(data: bytes) -> OpenPGPKind | None:
    """Return what ``data`` claims to be when it *begins* with armor (blanks apart), else None."""
    head = data[:4096].removeprefix(_BOM).lstrip()
    line = _LINE.match(head)
    return _KINDS[line[2]] if line is not None and line[1] == b"BEGIN" else None


def dearmor(data: bytes, *, at_most: int | None = None) -> bytes:
    """Return the binary form of the first armored block, or ``data`` as it is when there is none.

    Line ends, armor headers, a missing tail and a missing or wrong checksum are all tolerated:
    whoever needs to know whether the content is whole asks gpg.  Of a clear-signed text the
    signature is returned.  ``at_most`` bounds the octets of base64 that are looked at.
    """
    if data[:1] >= b"\x80" and not data.startswith(_BOM):
        return data
    for line in _LINE.finditer(data):
        if line[1] == b"BEGIN" and line[2] != b"SIGNED MESSAGE":
            return _decode(data, line.end(), at_most)
    return data


def _decode(data: bytes, after: int, at_most: int | None) -> bytes:
    headers = _HEADERS.match(data, after)
    start = headers.end() if headers is not None else after
    end = len(data) if at_most is None else min(len(data), start + at_most)
    if (tail := data.find(b"\n-----", start - 1, end)) >= 0:
        end = tail
    if (checksum := data.find(b"\n=", start, end)) >= 0:
        end = checksum
    return _base64(data[start:end])


def _base64(body: bytes) -> bytes:
    try:
        return binascii.a2b_base64(body)
    except binascii.Error:
        whole = body.translate(None, _NOT_BASE64)
        return binascii.a2b_base64(whole[: len(whole) // 4 * 4])

"""Is this OpenPGP, and to whom?  The packet headers of a message, read without any key.

Only headers and the first octets of a few packets are looked at (RFC 9580 section 4 and 5), so
hostile input costs a bounded number of steps.  File names and media types are never asked.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from secbridge.mail.armor import OpenPGPKind, armor_kind, dearmor

__all__ = [
    "HIDDEN",
    "Container",
    "OpenPGPKind",
    "Packet",
    "PacketFacts",
    "describe",
    "holds_packets",
    "recipients",
    "sniff",
    "walk",
]

HIDDEN = "0" * 16
"""The key id of a recipient who is not named (RFC 9580 section 5.1.8)."""

_MOST_PACKETS = 4096
_MOST_CHUNKS = 1 << 20
_SNIFFED = 16 * 1024

_PKESK, _SIGNATURE, _SKESK, _ONE_PASS, _SECRET_KEY, _PUBLIC_KEY = 1, 2, 3, 4, 5, 6
_COMPRESSED, _SED, _MARKER, _LITERAL, _SEIPD, _OCB, _PADDING = 8, 9, 10, 11, 18, 20, 21

_PUBLIC_ALGORITHMS = frozenset([1, 2, 3, 16, 17, 18, 19, 20, 22, 25, 26, 27, 28, *range(29, 37)])
_HASHES = frozenset([1, 2, 3, 8, 9, 10, 11, 12, 14])
_CIPHERS = frozenset(range(1, 14))
_SIGNATURE_TYPES = frozenset([0x00, 0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x18, 0x19, 0x1F, 0x20])


class Container(StrEnum):
    """The packet that holds the ciphertext of a message."""

    NONE = "none"
    SED = "sed"
    SEIPD1 = "seipd-1"
    SEIPD2 = "seipd-2"
    OCB = "ocb"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PacketFacts:
    """What the outside of an encrypted message tells.

    ``recipients`` are the key ids (16 upper-case hex digits, ``HIDDEN`` for none) of the PKESK
    packets, in order, with their ``pkesk_versions``; ``passwords`` counts SKESK packets.
    ``truncated``: the data ends inside a packet.  ``trailing``: something follows the ciphertext.
    """

    recipients: tuple[str, ...] = ()
    pkesk_versions: tuple[int, ...] = ()
    passwords: int = 0
    container: Container = Container.NONE
    truncated: bool = False
    trailing: bool = False


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, ``data[start:end]``; its body (or first chunk) is ``data[body:body + size]``."""

    tag: int
    start: int
    body: int
    size: int
    end: int
    whole: bool


def sniff(data: bytes) -> OpenPGPKind | None:
    """Return what OpenPGP thing ``data`` is from its first octet on, or None when it is none.

    Armor decides by its header line, but armored messages and binary data are told by their
    packets: the first ones must have sane versions, algorithms and order, so that a picture or a
    text in some old charset is not mistaken.  Reads at most 16 KiB and follows headers.
    """
    claimed = armor_kind(data)
    if claimed is OpenPGPKind.MESSAGE:
        inner = _sniff_packets(dearmor(data[:_SNIFFED]), lone_literal=True)
        return OpenPGPKind.SIGNED_MESSAGE if inner is OpenPGPKind.SIGNED_MESSAGE else claimed
    if claimed is not None:
        return claimed
    return _sniff_packets(data, lone_literal=False) if data[:1] >= b"\x80" else None


def holds_packets(armored: bytes) -> bool:
    """Whether armor has octets in it that begin as an OpenPGP message does."""
    return _sniff_packets(dearmor(armored), lone_literal=True) is not None


def recipients(data: bytes) -> tuple[str, ...]:
    """Return the key ids to which a message is encrypted, as in ``PacketFacts.recipients``."""
    return describe(data).recipients


def describe(data: bytes) -> PacketFacts:
    """Return what the packet headers of one message say, armored or binary; never raises."""
    followed = _second_armor(data)
    data = dearmor(data)
    ids: list[str] = []
    versions: list[int] = []
    passwords, container = 0, Container.NONE
    truncated, trailing = False, followed
    end = 0
    for packet in walk(data):
        end, truncated = packet.end, not packet.whole
        if container is not Container.NONE:
            trailing = True
            break
        if packet.tag == _PKESK:
            versions.append(data[packet.body] if packet.size else 0)
            ids.append(_key_id(data[packet.body : packet.body + packet.size]))
        elif packet.tag == _SKESK:
            passwords += 1
        elif packet.tag not in (_MARKER, _PADDING):
            container = _container(data, packet)
            if container is Container.NONE:
                break
    trailing = trailing or (container is not Container.NONE and end < len(data))
    return PacketFacts(tuple(ids), tuple(versions), passwords, container, truncated, trailing)


def _second_armor(data: bytes) -> bool:
    tail = data.find(b"\n-----END PGP ") if data[:1] < b"\x80" else -1
    return tail >= 0 and data.find(b"\n-----BEGIN PGP ", tail) >= 0


def _container(data: bytes, packet: Packet) -> Container:
    version = data[packet.body] if packet.size else 0
    if packet.tag == _SED:
        return Container.SED
    if packet.tag == _OCB:
        return Container.OCB if version == 1 else Container.UNKNOWN
    if packet.tag == _SEIPD:
        return {1: Container.SEIPD1, 2: Container.SEIPD2}.get(version, Container.UNKNOWN)
    return Container.NONE


def _key_id(body: bytes) -> str:
    """Return the key id of a PKESK body (RFC 9580 section 5.1): v3 has the id, v6 a fingerprint."""
    if body[:1] in (b"\x02", b"\x03") and len(body) > 9:
        return body[1:9].hex().upper()
    if body[:1] == b"\x06" and len(body) > 2 and body[1]:
        fingerprint = body[3 : 2 + body[1]]
        return (fingerprint[-8:] if body[2] == 4 else fingerprint[:8]).hex().upper()
    return HIDDEN


# ── Sniffing ─────────────────────────────────────────────────────────────────────────────────────


def _sniff_packets(data: bytes, *, lone_literal: bool) -> OpenPGPKind | None:
    """Return the kind of a binary; ``lone_literal`` takes unsigned data too (armor vouches)."""
    signatures = False
    for packet in walk(data):
        body = data[packet.body : packet.body + min(packet.size, 64)]
        if packet.tag in (_MARKER, _PADDING):
            if packet.tag == _MARKER and body != b"PGP":
                return None
            continue
        if not _sane(packet, body):
            return None
        match packet.tag:
            case 1 | 3:
                return OpenPGPKind.MESSAGE if _leads_to_ciphertext(data, packet) else None
            case 2:
                signatures = True
            case 4:
                return OpenPGPKind.SIGNED_MESSAGE
            case 5:
                return OpenPGPKind.PRIVATE_KEY
            case 6:
                return OpenPGPKind.PUBLIC_KEY
            case 11:
                return OpenPGPKind.SIGNED_MESSAGE if signatures or lone_literal else None
            case 8:
                packed = _signed_inside(data, packet, lone_literal=lone_literal or signatures)
                return OpenPGPKind.SIGNED_MESSAGE if packed else None
            case _:
                return None
    return OpenPGPKind.SIGNATURE if signatures else None


def _leads_to_ciphertext(data: bytes, first: Packet) -> bool:
    """Whether session keys lead to a ciphertext, or the data ends before anything else is seen."""
    for packet in walk(data, first.end):
        if packet.tag in (_SED, _SEIPD, _OCB):
            return True
        if packet.tag not in (_PKESK, _SKESK, _MARKER, _PADDING):
            return False
    return True


def _signed_inside(data: bytes, packet: Packet, *, lone_literal: bool) -> bool:
    """Whether compressed data opens with something signed; inflates a few octets only."""
    head = _inflate(data[packet.body], data[packet.body + 1 : packet.body + 1 + _SNIFFED])
    inner = next(walk(head), None)
    if inner is None:
        return False
    body = head[inner.body : inner.body + min(inner.size, 64)]
    wanted = (_ONE_PASS, _SIGNATURE, _LITERAL) if lone_literal else (_ONE_PASS, _SIGNATURE)
    return inner.tag in wanted and _sane(inner, body)


def _inflate(algorithm: int, packed: bytes) -> bytes:
    try:
        if algorithm == 0:
            return packed[:256]
        if algorithm == 3:
            return bz2.BZ2Decompressor().decompress(packed, 256)
        return zlib.decompressobj(-15 if algorithm == 1 else 15).decompress(packed, 256)
    except (zlib.error, OSError, ValueError):
        return b""


def _sane(packet: Packet, body: bytes) -> bool:  # noqa: C901 - one flat case for each packet type
    """Whether the first octets of a packet are what its tag promises."""
    if len(body) < 2:
        return False
    match packet.tag:
        case 1 if body[0] in (2, 3):
            return len(body) > 10 and body[9] in _PUBLIC_ALGORITHMS
        case 1 if body[0] == 6:
            return body[1] in (0, 21, 33)
        case 2 if body[0] in (2, 3):
            return len(body) > 18 and body[1] == 5 and body[16] in _HASHES
        case 2 if body[0] in (4, 5, 6):
            return _sane_signature(body)
        case 3 if body[0] in (4, 5, 6):
            return body[1] in _CIPHERS or body[0] == 6
        case 4 if body[0] == 3:
            return packet.size == 13 and body[2] in _HASHES and body[3] in _PUBLIC_ALGORITHMS
        case 4 if body[0] == 6:
            return packet.size >= 37 and body[2] in _HASHES
        case 5 | 6 if body[0] in (2, 3):
            return len(body) > 8 and body[7] in _PUBLIC_ALGORITHMS
        case 5 | 6 if body[0] in (4, 5, 6):
            return len(body) > 6 and body[5] in _PUBLIC_ALGORITHMS
        case 8:
            return body[0] in (0, 1, 2, 3)
        case 11:
            return body[0] in b"btulm1" and packet.size >= 6 + body[1]
        case _:
            return False


def _sane_signature(body: bytes) -> bool:
    known = len(body) > 8 and body[2] in _PUBLIC_ALGORITHMS and body[3] in _HASHES
    return known and body[1] in _SIGNATURE_TYPES


# ── Packet headers ───────────────────────────────────────────────────────────────────────────────


def walk(data: bytes, at: int = 0) -> Iterator[Packet]:
    """Yield packets by their headers (RFC 9580 section 4.2), the last one perhaps not ``whole``."""
    for _ in range(_MOST_PACKETS):
        packet = _packet(data, at) if at < len(data) else None
        if packet is None:
            return
        yield packet
        if not packet.whole:
            return
        at = packet.end


def _packet(data: bytes, at: int) -> Packet | None:
    first = data[at]
    if not first & 0x80:
        return None
    return _new_packet(data, at) if first & 0x40 else _old_packet(data, at)


def _old_packet(data: bytes, at: int) -> Packet | None:
    tag, octets = (data[at] >> 2) & 0x0F, (1, 2, 4, 0)[data[at] & 3]
    body = at + 1 + octets
    if octets == 0:
        return Packet(tag, at, body, len(data) - body, len(data), whole=True)
    if body > len(data):
        return None
    return _cut(data, tag, at, body, int.from_bytes(data[at + 1 : body], "big"))


def _new_packet(data: bytes, at: int) -> Packet | None:
    tag = data[at] & 0x3F
    header = _length(data, at + 1)
    if header is None:
        return None
    body, size, partial = header
    if not partial:
        return _cut(data, tag, at, body, size)
    return _partial(data, tag, at, body, size)


def _cut(data: bytes, tag: int, at: int, body: int, size: int) -> Packet:
    end = min(body + size, len(data))
    return Packet(tag, at, body, end - body, end, whole=body + size <= len(data))


def _partial(data: bytes, tag: int, at: int, body: int, size: int) -> Packet:
    """Walk the chunks of a partial body (RFC 9580 section 4.2.1.4) to find its end."""
    first, end = min(size, len(data) - body), body + size
    for _ in range(_MOST_CHUNKS):
        header = _length(data, end) if end < len(data) else None
        if header is None:
            break
        start, chunk, more = header
        end = start + chunk
        if not more:
            return Packet(tag, at, body, first, min(end, len(data)), whole=end <= len(data))
    return Packet(tag, at, body, first, len(data), whole=False)


def _length(data: bytes, at: int) -> tuple[int, int, bool] | None:
    """Return (start of body, size, partial) of a new-format length, or None when it is cut off."""
    if at >= len(data):
        return None
    first = data[at]
    if first < 192:
        return at + 1, first, False
    if first < 224:
        return (
            (at + 2, ((first - 192) << 8) + data[at + 1] + 192, False)
            if at + 1 < len(data)
            else None
        )
    if first == 255:
        size = int.from_bytes(data[at + 1 : at + 5], "big")
        return (at + 5, size, False) if at + 5 <= len(data) else None
    return at + 1, 1 << (first & 0x1F), True

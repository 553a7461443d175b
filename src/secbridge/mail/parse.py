"""What does a part hold?  Transfer encodings undone, contents recognised, reports read.

All functions are total: broken encodings give what can be read of them, with the rest as it is.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from dataclasses import replace

from secbridge.mail.armor import OpenPGPKind
from secbridge.mail.headers import (
    HeaderBlock,
    after_empty_line,
    begins_with_field,
    header_facts,
    plain,
    split_header,
)
from secbridge.mail.packets import sniff
from secbridge.model.message import DeliveryReport
from secbridge.model.part import Part

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64 + b"="))
_PADDED = re.compile(rb"([A-Za-z0-9+/]{2,}={1,2})[ \t]")
_UUENCODED = frozenset({"uuencode", "x-uuencode", "x-uue", "uue"})
_AS_IT_IS = frozenset({"", "7bit", "8bit", "binary"})
_SNIFFED = 16 * 1024
_CHUNK = 1 << 20
_LONGEST_REPORT = 64 * 1024
_LONGEST_ADDRESS = 320
_LONGEST_DIAGNOSTIC = 1000
_MOST_RETURNED_IDS = 20

# ── Transfer encodings ───────────────────────────────────────────────────────────────────────────


def decoded(data: bytes, part: Part, *, most: int | None = None) -> bytes:
    """Return the body of a part with its transfer encoding undone (RFC 2045 section 6).

    ``most`` bounds the *encoded* octets that are looked at.
    """
    end = part.end if most is None else min(part.end, part.body + most)
    match part.encoding:
        case "base64":
            return _from_base64(data, part.body, end)
        case "quoted-printable":
            return binascii.a2b_qp(data[part.body : end])
        case encoding if encoding in _UUENCODED:
            return _from_uuencode(data[part.body : end])
        case _:
            return data[part.body : end]


def looked_at(data: bytes, part: Part) -> bytes | memoryview:
    """Return what ``decoded`` does, without a copy of large octets that stand there as they are."""
    if part.encoding in _AS_IT_IS and part.end - part.body > _CHUNK:
        return memoryview(data)[part.body : part.end]
    return decoded(data, part)


def _from_base64(data: bytes, start: int, end: int) -> bytes:
    """Return the octets of a base64 body, and after them whatever else stands in it.

    Mailing lists put their footers behind the padding; a decoder that stops there would hide them.
    """
    pad = data.find(b"=", start, end)
    whole = end if pad < 0 else pad
    tidy = pad < 0 or (end - pad < 64 and not data[pad:end].strip(b"=\r\n"))
    if tidy and data.find(b" ", start, whole) < 0:
        white = data.count(b"\n", start, whole) + data.count(b"\r", start, whole)
        octets = _lenient(memoryview(data)[start:end])
        if len(octets) == (whole - start - white) * 3 // 4:
            return octets
    return _line_by_line(data[start:end])


def _lenient(encoded: bytes | memoryview) -> bytes:
    try:
        return binascii.a2b_base64(encoded)
    except binascii.Error:
        letters = bytes(encoded).translate(None, _NOT_BASE64 + b"=")
        return binascii.a2b_base64(letters[: len(letters) // 4 * 4] + _last_quantum(letters))


def _last_quantum(letters: bytes) -> bytes:
    rest = letters[len(letters) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def _line_by_line(body: bytes) -> bytes:
    """Decode what is base64 up to the first line that is not, and keep the rest as it is."""
    pieces: list[bytes] = []
    run: list[bytes] = []
    at = 0
    while at < len(body):
        line_end = body.find(b"\n", at) + 1 or len(body)
        line = body[at:line_end].strip()
        if (padded := _PADDED.match(line)) is not None:
            run.append(padded[1])
            at = body.find(padded[1], at) + len(padded[1])
            break
        if not _is_base64_line(line, padded=bool(pieces)):
            break
        run.append(line.translate(None, _NOT_BASE64))
        if line.endswith(b"="):
            pieces.append(_lenient(b"".join(run)))
            run.clear()
        at = line_end
    if run:
        pieces.append(_lenient(b"".join(run)))
    rest = body[at:]
    if rest.strip():
        pieces.append(b"\n" + rest if pieces else rest)
    return b"".join(pieces)


def _is_base64_line(line: bytes, *, padded: bool) -> bool:
    """Whether a line is base64, a stray octet apart; after padding it has to look the part."""
    if not line:
        return True
    foreign = len(line.translate(None, _BASE64 + b"="))
    if b" " in line or foreign * 10 > len(line):
        return False
    return not padded or (foreign == 0 and len(line) % 4 == 0 and len(line) >= 16)


def _from_uuencode(body: bytes) -> bytes:
    out: list[bytes] = []
    inside = False
    for line in body.split(b"\n"):
        line = line.rstrip(b"\r")
        if not inside:
            inside = line.startswith(b"begin ")
            if not inside and line:
                out.append(line + b"\n")
        elif line == b"end":
            inside = False
        else:
            try:
                out.append(binascii.a2b_uu(line))
            except binascii.Error:
                out.append(line + b"\n")
    return b"".join(out)


# ── What the octets are ──────────────────────────────────────────────────────────────────────────

_PKCS = rb"\x2a\x86\x48\x86\xf7\x0d\x01"
_ENVELOPED = re.compile(
    rb"0[\x80-\x84].{0,4}\x06(?:\x09" + _PKCS + rb"\x07\x03|\x0b" + _PKCS + rb"\x09\x10\x01\x17)",
    re.DOTALL,
)
_MAIL_FIELDS = frozenset(
    {"bcc", "cc", "date", "from", "hp-outer", "in-reply-to", "message-id", "mime-version",
     "organization", "references", "reply-to", "sender", "subject", "to", "user-agent"}
)  # fmt: skip


def openpgp_kind(data: bytes, part: Part) -> OpenPGPKind | None:
    """Return what OpenPGP thing a leaf holds, from its content alone, whatever it is called."""
    return sniff(decoded(data, part, most=_SNIFFED))


def is_enveloped(data: bytes, part: Part) -> bool:
    """Whether a leaf holds S/MIME ciphertext, told by the first octets of its BER.

    That is EnvelopedData (RFC 5652 section 6) or AuthEnvelopedData (RFC 5083 section 2), also when
    the part is called application/octet-stream.
    """
    return _ENVELOPED.match(decoded(data, part, most=256)) is not None


def is_entity(octets: bytes) -> bool:
    """Whether octets are a MIME entity: a header that has a type and no field but those of mail.

    A recorded HTTP exchange has a Content-Type too, and its other fields tell it apart.
    """
    if not begins_with_field(octets):
        return False
    header = split_header(octets, 0, len(octets), most=64 * 1024)
    names = {name for name, _ in header.fields}
    return "content-type" in names and all(
        name in _MAIL_FIELDS or name.startswith(("content-", "x-", "autocrypt")) for name in names
    )


def is_mail(octets: bytes) -> bool:
    """Whether octets begin as a mail or MIME entity does, or with the empty line of no header."""
    if octets[:1] == b"\n" or octets[:2] == b"\r\n":
        return True
    if not begins_with_field(octets):
        return False
    header = split_header(octets, 0, len(octets), most=64 * 1024)
    return any(name in _MAIL_FIELDS or name.startswith("content-") for name, _ in header.fields)


def may_hide_ciphertext(data: bytes, start: int, end: int) -> bool:
    """Whether octets that nobody looked at could hold a ciphertext: armor, its types, or base64."""
    for at in range(start, end, _CHUNK):
        window = data[at : min(at + _CHUNK + 32, end)].lower()
        if any(mark in window for mark in (b"-----begin pgp", b"pgp", b"pkcs7", b"base64")):
            return True
        if not window.isascii():
            return True
    return False


# ── The hash of a body ───────────────────────────────────────────────────────────────────────────


def canonical_body_hash(raw: bytes) -> str:
    """Return the SHA-256 (hex) of a mail's body in the form that mail transport keeps.

    Lines are compared, not their ends: CR does not count, nor do blanks at the end of lines and
    empty lines at the end of the body (as in DKIM's relaxed canonicalisation, RFC 6376 section
    3.4.4, but blanks within lines do count).
    """
    headless = raw.startswith((b"\n", b"\r\n"))
    at = raw.find(b"\n") + 1 if headless else after_empty_line(raw, 0, len(raw))
    digest = hashlib.sha256()
    end = _without_empty_lines(raw, at)
    while at < end:
        stop = raw.find(b"\n", min(at + _CHUNK, end), end) + 1 or end
        digest.update(_canonical(raw[at:stop]))
        at = stop
    return digest.hexdigest()


def _without_empty_lines(raw: bytes, start: int) -> int:
    """Return where the body ends without the blanks and line ends at its end."""
    end = len(raw)
    while end > start:
        step = max(start, end - 4096)
        kept = raw[step:end].rstrip(b" \t\r\n")
        if kept:
            return step + len(kept)
        end = step
    return start


def _canonical(lines: bytes) -> bytes:
    lines = lines.translate(None, b"\r")
    if b" " in lines or b"\t" in lines:
        return b"\n".join(line.rstrip(b" \t") for line in lines.split(b"\n"))
    return lines


# ── Delivery reports ─────────────────────────────────────────────────────────────────────────────

_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RETURNED_TYPES = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"}
)
_SERIOUS = ("failed", "delayed", "expanded", "relayed", "delivered")


def delivery_report(data: bytes, root: Part) -> DeliveryReport | None:
    """Return what a multipart/report says of a delivery (RFC 3464, RFC 6522), or None.

    Of several recipients the worst action counts.
    """
    report = next((part for part in root.walk() if part.media_type == "multipart/report"), None)
    status_part = next((part for part in root.walk() if part.media_type in _STATUS_TYPES), None)
    if report is None and status_part is None:
        return None
    found: list[DeliveryReport] = []
    if status_part is not None:
        found = _recipients(decoded(data, status_part, most=_LONGEST_REPORT))
    worst = min(found, key=_seriousness, default=DeliveryReport())
    holder = report if report is not None else root
    return replace(worst, original_message_ids=_returned_ids(data, holder))


def _seriousness(found: DeliveryReport) -> int:
    return _SERIOUS.index(found.action) if found.action in _SERIOUS else len(_SERIOUS)


def _recipients(content: bytes) -> list[DeliveryReport]:
    """Return what each recipient's group of fields says (RFC 3464 section 2.3)."""
    groups: list[DeliveryReport] = []
    at = 0
    while at < len(content) and len(groups) < 100:
        block = split_header(content, at, len(content), most=_LONGEST_REPORT)
        if block.first("action") or block.first("status"):
            groups.append(_recipient(block))
        at = block.body if block.body > at else content.find(b"\n", at) + 1 or len(content)
    return groups


def _recipient(block: HeaderBlock) -> DeliveryReport:
    """Return what one group says; of typed values (``rfc822; a@b.example``) the type is dropped."""
    action, status = (block.first(name).partition(" ")[0][:40] for name in ("action", "status"))
    named = [_untyped(block, name) for name in ("original-recipient", "final-recipient")]
    return DeliveryReport(
        action=action.lower() or None,
        status=status or None,
        recipients=tuple(
            dict.fromkeys(each.strip("<>")[:_LONGEST_ADDRESS] for each in named if each)
        ),
        diagnostic=_untyped(block, "diagnostic-code")[:_LONGEST_DIAGNOSTIC] or None,
    )


def _untyped(block: HeaderBlock, name: str) -> str:
    value = block.first(name)
    return value.partition(";")[2].strip() if ";" in value else value


def _returned_ids(data: bytes, root: Part) -> tuple[str, ...]:
    """Return the Message-IDs of the mails or headers that came back with a report."""
    found: list[str] = []
    for part in root.walk():
        if part.media_type not in _RETURNED_TYPES or len(found) >= _MOST_RETURNED_IDS:
            continue
        if part.children:
            start, end, content = part.body, part.end, data
        else:
            content = decoded(data, part, most=_LONGEST_REPORT)
            start, end = 0, len(content)
        block = split_header(content, start, end, most=_LONGEST_REPORT)
        facts = header_facts(block)
        if facts.message_id is not None:
            found.append(facts.message_id)
    return tuple(dict.fromkeys(found))


def file_name(part: Part) -> str:
    """Return the name that a part gives itself, or a neutral one by its type."""
    if part.name:
        return part.name
    if part.is_message:
        return "message.eml"
    return {"text/plain": "text.txt", "text/html": "text.html"}.get(part.media_type, "attachment")


def charset_of(part: Part) -> str | None:
    """Return the charset that a part declares."""
    return plain(part.params.get("charset", "").encode("utf-8", "replace"), most=80) or None

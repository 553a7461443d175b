"""What does a mail header say?  Fields, words and parameters, in linear time.

The parser is our own, because the standard one builds objects that cost seconds on a header made
to hurt (50,000 addresses, 10,000 parameters, encoded words without end) and raises on others.
Nothing here raises on any bytes, and nothing looks at an octet more than a few times.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from secbridge.mail.addresses import QUOTED, mailboxes
from secbridge.mail.text import decode
from secbridge.model.message import Headers

__all__ = [
    "KEPT_FIELDS",
    "KEPT_PREFIXES",
    "Authors",
    "HeaderBlock",
    "after_empty_line",
    "authors",
    "autocrypt",
    "begins_with_field",
    "decode_words",
    "header_facts",
    "mailboxes",
    "media_type",
    "parameters",
    "plain",
    "split_header",
    "unstructured",
]

KEPT_FIELDS = frozenset(
    {
        "apparently-to",
        "authentication-results",
        "auto-submitted",
        "bcc",
        "cc",
        "content-type",
        "date",
        "delivered-to",
        "envelope-to",
        "feedback-id",
        "from",
        "precedence",
        "reply-to",
        "return-path",
        "sender",
        "to",
        "x-auto-response-suppress",
        "x-autoreply",
        "x-autorespond",
        "x-autoresponder",
        "x-bogosity",
        "x-failed-recipients",
        "x-loop",
        "x-mailman-version",
        "x-original-to",
    }
)
"""The outer header fields that ``Headers.fields`` keeps, with those of ``KEPT_PREFIXES``."""

KEPT_PREFIXES = ("list-", "x-rspamd-", "x-secbridge-", "x-spam")
"""Fields that are kept whatever follows this beginning: ``X-Spam-Flag``, ``List-Id``."""

_LONGEST_VALUE = 4096
_LONGEST_LIST = 32 * 1024
_MOST_VALUES = 32
_MOST_IDS = 100
_MOST_AUTHORS = 1000
_LISTS = frozenset({"to", "cc", "bcc", "from", "reply-to"})

_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]+")
_WORD = re.compile(r"=\?([^?\s]{1,80})\?([bBqQ])\?([^?]*)\?=")
_MESSAGE_ID = re.compile(r"<[^<>\x00-\x20]{1,996}>")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")


@dataclass(frozen=True, slots=True, repr=False)
class HeaderBlock:
    """Header fields in order, names lower-cased, values raw with their folds.

    ``body`` is where the body begins.  ``cut``: the header went on beyond the bound, and fields
    after it were not read.
    """

    fields: tuple[tuple[str, bytes], ...]
    body: int
    cut: bool = False

    def all(self, name: str) -> list[bytes]:
        """Return the raw values of a field, in order."""
        return [value for known, value in self.fields if known == name]

    def first(self, name: str) -> str:
        """Return the first value of a field, unfolded and cut, or "" when there is none."""
        return next((plain(value) for known, value in self.fields if known == name), "")


def split_header(data: bytes, start: int, end: int, *, most: int) -> HeaderBlock:
    """Return the header of the entity in ``data[start:end]`` (RFC 5322 section 2.2).

    The header ends at an empty line or, where that is missing, before the first line that is no
    field.  At most ``most`` octets are read as header.
    """
    fields: list[tuple[str, bytes]] = []
    stop = min(end, start + most)
    at = begun = start
    name = ""
    while at < stop:
        line_end = data.find(b"\n", at, stop) + 1
        if line_end == 0:
            if stop < end:
                break
            line_end = stop
        first = data[at]
        if first in b" \t" and name:
            at = line_end
            continue
        if name:
            fields.append((name, data[begun:at]))
            name = ""
        if not data[at:line_end].strip(b" \t\r\n"):
            return HeaderBlock(tuple(fields), line_end)
        field = _NAME.match(data, at, line_end)
        if field is None:
            return HeaderBlock(tuple(fields), at)
        name, begun = field[1].decode("ascii").lower(), field.end()
        at = line_end
    if name:
        fields.append((name, data[begun:stop]))
    if at < stop or stop < end:
        return _cut(data, fields, at, end)
    return HeaderBlock(tuple(fields), at)


def _cut(data: bytes, fields: list[tuple[str, bytes]], at: int, end: int) -> HeaderBlock:
    """Return what was read of a header that is too long, with the body where it really begins."""
    return HeaderBlock(tuple(fields), after_empty_line(data, max(at - 1, 0), end), cut=True)


def after_empty_line(data: bytes, start: int, end: int) -> int:
    """Return where the octets behind the first empty line begin, or ``end`` when there is none."""
    crlf = data.find(b"\n\r\n", start, end)
    lf = data.find(b"\n\n", start, end if crlf < 0 else crlf + 1)
    if lf >= 0:
        return lf + 2
    return end if crlf < 0 else crlf + 3


def begins_with_field(data: bytes, start: int = 0) -> bool:
    """Whether the octets from ``start`` look like a header field."""
    return _NAME.match(data, start, start + 1024) is not None


# ── Values ───────────────────────────────────────────────────────────────────────────────────────


def plain(value: bytes, *, most: int = _LONGEST_VALUE) -> str:
    """Return a raw value unfolded, cut to ``most`` octets and free of control characters."""
    text, _ = decode(value[:most].translate(None, b"\r\n"), "utf-8")
    return (text if text.isprintable() else _CONTROL.sub(" ", text)).strip()


def unstructured(value: bytes, *, most: int = 2 * _LONGEST_VALUE) -> str:
    """Return the text of a field such as Subject, encoded words decoded (RFC 2047)."""
    text = decode_words(plain(value, most=most))
    return _CONTROL.sub(" ", text).strip()


def decode_words(text: str) -> str:
    """Return ``text`` with its encoded words decoded; white space between two of them is dropped.

    Neighbours in one charset are joined before they are decoded, because mailers do split within
    a character (RFC 2047 section 5 forbids it).
    """
    if "=?" not in text:
        return text
    out: list[str] = []
    pending, charset, at = b"", "", 0
    for word in _WORD.finditer(text):
        between = text[at : word.start()]
        adjacent = bool(charset) and not between.strip()
        this = word[1].partition("*")[0].lower()
        if not (adjacent and this == charset):
            out.append(decode(pending, charset or None)[0])
            pending = b""
        if not adjacent:
            out.append(between)
        pending, charset, at = pending + _word_octets(word[2], word[3]), this, word.end()
    out.extend((decode(pending, charset or None)[0], text[at:]))
    return "".join(out)


def _word_octets(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if encoding in "bB":
        try:
            return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4))
        except binascii.Error:
            return raw
    return binascii.a2b_qp(raw, header=True)


def media_type(value: str, default: str) -> tuple[str, dict[str, str]]:
    """Return the media type, lower-cased, and its parameters; what is no type is the default."""
    main, params = parameters(value)
    main = main.lower()
    if main == "text":
        main = "text/plain"
    return (main if _MEDIA_TYPE.fullmatch(main) else default), params


def parameters(value: str) -> tuple[str, dict[str, str]]:
    """Return what stands before the first semicolon, and the parameters by lower-cased name.

    Of two with one name the first counts.  Continuations and charsets are put together
    (RFC 2231 sections 3 and 4), and the extended form wins over the plain one.
    """
    pieces = _pieces(value)
    main, blank, rest = pieces[0].strip().replace("\t", " ").partition(" ")
    if blank and "=" in rest:  # the semicolon after the type is missing
        pieces[:1] = [main, rest]
    found: dict[str, str] = {}
    extended: dict[str, dict[int, tuple[bool, str]]] = {}
    for piece in pieces[1:]:
        name, equals, text = piece.partition("=")
        name = name.strip().lower()
        if not equals or not name:
            continue
        if "*" in name:
            _collect(extended, name, _unquote(text))
        else:
            found.setdefault(name, _unquote(text))
    for name, sections in extended.items():
        found[name] = _join_sections(sections)
    return _without_comment(pieces[0]), found


def _pieces(value: str) -> list[str]:
    """Split at semicolons outside quoted strings."""
    if '"' not in value:
        return value.split(";")
    pieces: list[str] = []
    start = at = 0
    for stop in re.finditer(r'[;"]', value):
        if stop.start() < at:
            continue
        if stop[0] == ";":
            pieces.append(value[start : stop.start()])
            start = at = stop.end()
        else:
            quoted = QUOTED.match(value, stop.start())
            if quoted is None:
                break
            at = quoted.end()
    pieces.append(value[start:])
    return pieces


def _unquote(text: str) -> str:
    text = text.strip()
    if text.startswith('"'):
        quoted = QUOTED.match(text)
        inner = quoted[0][1:-1] if quoted else text[1:]
        return re.sub(r"\\(.)", r"\1", inner)
    return _without_comment(text)


def _without_comment(text: str) -> str:
    return text.partition(" (")[0].partition("\t(")[0].strip()


def _collect(extended: dict[str, dict[int, tuple[bool, str]]], name: str, text: str) -> None:
    base, _, rest = name.partition("*")
    number, encoded = (rest[:-1], True) if rest.endswith("*") else (rest, rest == "")
    index = int(number) if number.isascii() and number.isdigit() and len(number) < 4 else 0
    extended.setdefault(base, {}).setdefault(index, (encoded, text))


def _join_sections(sections: dict[int, tuple[bool, str]]) -> str:
    charset = ""
    octets = b""
    for position, index in enumerate(sorted(sections)):
        encoded, text = sections[index]
        if encoded and position == 0 and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        octets += unquote_to_bytes(text) if encoded else text.encode("utf-8", "replace")
    return _CONTROL.sub(" ", decode(octets, charset or "utf-8")[0]).strip()


# ── Authors ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False)
class Authors:
    """The addr-specs of all From fields, and the single author if there is exactly one.

    ``single`` needs one From field, wholly read, with one mailbox and nothing doubtful in it: no
    group, no stray text, no second address.
    """

    addresses: tuple[str, ...] = ()
    single: str | None = None


def authors(block: HeaderBlock) -> Authors:
    """Return who wrote a mail, by its From fields alone (RFC 5322 section 3.6.2)."""
    values = block.all("from")
    found: list[str] = []
    clean = len(values) == 1 and not block.cut
    for value in values[:_MOST_VALUES]:
        specs, sure = mailboxes(plain(value, most=_LONGEST_LIST))
        found.extend(specs)
        clean = clean and sure and len(value) <= _LONGEST_LIST
    addresses = tuple(dict.fromkeys(found[:_MOST_AUTHORS]))
    return Authors(addresses, found[0] if clean and len(found) == 1 else None)


# ── The header of the mail ───────────────────────────────────────────────────────────────────────


def header_facts(block: HeaderBlock, *, more_fields: Iterable[str] = ()) -> Headers:
    """Return the header facts that rules ask for."""
    kept = KEPT_FIELDS.union(more_fields)
    fields: dict[str, list[str]] = {}
    for name, value in block.fields:
        if name in kept or name.startswith(KEPT_PREFIXES):
            values = fields.setdefault(name, [])
            if len(values) < _MOST_VALUES:
                values.append(_kept(name, value))
    return Headers(
        message_id=_message_id(block),
        in_reply_to=_message_ids(block, "in-reply-to"),
        references=_message_ids(block, "references"),
        fields={name: tuple(values) for name, values in fields.items()},
    )


def _kept(name: str, value: bytes) -> str:
    if name == "content-type":
        kind, params = media_type(plain(value), "text/plain")
        report = params.get("report-type")
        return f"{kind}; report-type={report.lower()}" if report else kind
    if name in _LISTS and len(value) > _LONGEST_LIST:
        return plain(value, most=_LONGEST_LIST).rpartition(",")[0]
    return plain(value, most=_LONGEST_LIST if name in _LISTS else _LONGEST_VALUE)


def _message_id(block: HeaderBlock) -> str | None:
    value = block.first("message-id")
    found = _MESSAGE_ID.search(value)
    if found is not None:
        return found[0]
    bare = value.strip("<> ")
    return f"<{bare}>" if bare and len(bare) < 997 and not set(bare) & set(" <>") else None


def _message_ids(block: HeaderBlock, name: str) -> tuple[str, ...]:
    """Return the ids of a field in order; of very many the first and the last ones."""
    values = block.all(name)[:_MOST_VALUES]
    text = " ".join(plain(value, most=_LONGEST_LIST) for value in values)
    found = list(dict.fromkeys(_MESSAGE_ID.findall(text)))
    return tuple(found if len(found) <= _MOST_IDS else [found[0], *found[1 - _MOST_IDS :]])


def autocrypt(block: HeaderBlock, address: str, *, most: int) -> bytes | None:
    """Return the certificate of the one valid Autocrypt field for ``address``, or None.

    Two fields for one address are none (Autocrypt 1.1 section 2.1).
    """
    found = [key for value in block.all("autocrypt") if (key := _keydata(value, address, most))]
    return found[0] if len(found) == 1 else None


def _keydata(value: bytes, address: str, most: int) -> bytes | None:
    if len(value) > most * 3 // 2:
        return None
    _, attributes = parameters(";" + value.decode("ascii", "ignore"))
    if any(name not in _AUTOCRYPT and not name.startswith("_") for name in attributes):
        return None
    if attributes.get("addr", "").strip().lower() != address.lower():
        return None
    try:
        key = base64.b64decode("".join(attributes.get("keydata", "").split()), validate=True)
    except binascii.Error:
        return None
    return key if 0 < len(key) <= most else None


_AUTOCRYPT = frozenset({"addr", "prefer-encrypt", "keydata", "type"})

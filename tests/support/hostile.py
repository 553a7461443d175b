"""What does an enemy send?  Mails that break programs, octet by octet, with a canary in each.

``specimens`` makes them; each says nothing of what we answer, because the rule is one for all: a
clear status, a listed state, an issue that can be shown, and not a word of it in a log.
"""

from __future__ import annotations

import base64
import io
import os
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.support.keys import REPORTER, ROLE, Keys, Ring
from tests.support.mails import CRLF, crlf, encrypted, entity, file, header, multipart, signed, text

CANARY = "Kanariengirlitz"
"""Stands in subjects, bodies, file names, display names and parameters, and in no log."""

DOMAIN = "hostile.example"
"""The domain of all senders: no address of a reporter stands in a log either."""

SENDER = f"{CANARY.lower()}@{DOMAIN}"

WORDS = f"A heap overflow in version 1.2.3, src/parse.c:120, CVE-2026-1234 {CANARY}.\n"

Make = Callable[[Keys], bytes]


@dataclass(frozen=True)
class Specimen:
    """One hostile mail.  ``smtputf8``: MAIL says so; ``answerable``: a person wrote it."""

    name: str
    content: bytes
    reverse_path: str = SENDER
    smtputf8: bool = False


_ALL: list[tuple[str, Make, dict[str, object]]] = []


def _specimen(**given: object) -> Callable[[Make], Make]:
    """Put a function that makes a mail into the collection, under its own name."""

    def keep(make: Make) -> Make:
        _ALL.append((make.__name__.strip("_").replace("_", "-"), make, given))
        return make

    return keep


def specimens(keys: Keys) -> Iterator[Specimen]:
    """Make all of them, one after the other."""
    for name, make, given in _ALL:
        yield Specimen(name, make(keys), **given)  # type: ignore[arg-type]  # our own keywords
    yield from _header_fields()
    yield from _automatic()


def _mail(content: bytes = b"", *, author: str | None = SENDER, extra: bytes = b"") -> bytes:
    """Return a mail with our canary in the subject and whatever else is given."""
    sender = f'From: "{CANARY}" <{author}>\n' if author else ""
    head = crlf(
        f"{sender}To: {ROLE}\nSubject: {CANARY}\nDate: Fri, 20 Nov 2026 12:00:00 +0000\n"
        f"Message-ID: <{os.urandom(8).hex()}@{DOMAIN}>\nMIME-Version: 1.0\n"
    )
    return head + extra + (content or text(WORDS))


def _gibberish(size: int) -> bytes:
    """Return octets that no program compresses, the same ones each time."""
    made = b"".join(zlib.crc32(struct.pack("<I", n)).to_bytes(4, "big") for n in range(size // 4))
    return made[:size]


# ── No mail, or hardly one ───────────────────────────────────────────────────────────────────────


@_specimen()
def _empty(_: Keys) -> bytes:
    return b""


@_specimen()
def _one_line_end(_: Keys) -> bytes:
    return CRLF


@_specimen()
def _headers_only(_: Keys) -> bytes:
    return crlf(f"From: {SENDER}\nSubject: {CANARY}\n")


@_specimen()
def _headers_without_an_end(_: Keys) -> bytes:
    return f"From: {SENDER}\r\nSubject: {CANARY}".encode()


@_specimen()
def _body_only(_: Keys) -> bytes:
    return CRLF + WORDS.encode()


@_specimen()
def _text_without_any_header(_: Keys) -> bytes:
    return crlf(f"{WORDS}no colon here\n\n{WORDS}")


@_specimen()
def _nul_octets_everywhere(_: Keys) -> bytes:
    return (
        f"From: \0{SENDER}\r\nSub\0ject: {CANARY}\0\r\nSubject: {CANARY}\0\r\n\0\r\n\r\n"
        f"{CANARY}\0\0\0{WORDS}"
    ).encode() + bytes(10_000)


@_specimen()
def _every_octet(_: Keys) -> bytes:
    return _mail() + bytes(range(256)) * 64


@_specimen()
def _gibberish_alone(_: Keys) -> bytes:
    return _gibberish(200_000)


@_specimen()
def _only_bare_cr(_: Keys) -> bytes:
    return _mail().replace(b"\r\n", b"\r")


@_specimen()
def _only_bare_lf(_: Keys) -> bytes:
    return _mail().replace(b"\r\n", b"\n")


@_specimen()
def _a_million_bare_cr(_: Keys) -> bytes:
    return b"\r" * 1_000_000


@_specimen()
def _a_million_line_ends(_: Keys) -> bytes:
    return CRLF * 1_000_000


@_specimen()
def _mixed_line_ends(_: Keys) -> bytes:
    ends = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r"]
    lines = _mail(multipart("mixed", [text(WORDS), file(b"x", f"{CANARY}.bin")])).split(CRLF)
    return b"".join(line + ends[n % len(ends)] for n, line in enumerate(lines))


@_specimen()
def _smuggling(_: Keys) -> bytes:
    return _mail() + b"\n.\r\nMAIL FROM:<x@y>\r\nRCPT TO:<z@w>\n.\nDATA\r.\r" + WORDS.encode()


# ── Character sets and encodings ─────────────────────────────────────────────────────────────────


@_specimen()
def _bad_utf_8(_: Keys) -> bytes:
    body = entity("text/plain; charset=utf-8", b"\xff\xfe\xc0\xaf\xed\xa0\x80 " + WORDS.encode())
    return _mail(body, extra=b"Subject: \xff\xfe\xed\xa0\x80\xf5\r\n")


@_specimen()
def _unknown_charset(_: Keys) -> bytes:
    return _mail(text(WORDS, charset=f"x-{CANARY}"), extra=b"X-A: =?klingon?q?qapla=27?=\r\n")


@_specimen()
def _charsets_that_are_codecs(_: Keys) -> bytes:
    """Names that Python's codecs know and that are no character sets."""
    names = ("zlib", "bz2", "base64", "rot13", "idna", "punycode", "undefined", "unicode_escape",
             "raw_unicode_escape", "utf-7", "utf-16", "utf-32", "mbcs", "oem", "../../etc/passwd",
             "a" * 5000, "\x00", "utf-8\r\nX-Injected: 1", "")  # fmt: skip
    return _mail(multipart("mixed", [text(WORDS, charset=f'"{name}"') for name in names]))


@_specimen()
def _codecs_in_encoded_words(_: Keys) -> bytes:
    names = (
        "zlib",
        "bz2",
        "hex",
        "rot13",
        "idna",
        "undefined",
        "utf-16",
        "utf-7",
        "unicode_escape",
    )
    words = " ".join(f"=?{name}?b?eJwDAAAAAAE=?=" for name in names)
    return _mail(extra=crlf(f"Subject: {words}\nComments: {words}\nReply-To: {words}\n"))


@_specimen()
def _base64_garbage(_: Keys) -> bytes:
    body = b"!!!=A=B=C====\x00\xff" + CANARY.encode() + b"\r\n" + b"A" * 77_777
    return _mail(entity("text/plain", body, extra="Content-Transfer-Encoding: base64\n"))


@_specimen()
def _quoted_printable_garbage(_: Keys) -> bytes:
    body = b"=\x00=ZZ=0=\r\n==3D=" + b"=" * 100_000 + CANARY.encode()
    return _mail(entity("text/plain", body, extra="Content-Transfer-Encoding: quoted-printable\n"))


@_specimen()
def _unknown_transfer_encoding(_: Keys) -> bytes:
    return _mail(text(WORDS, extra=f"Content-Transfer-Encoding: {CANARY}\n"))


@_specimen()
def _ten_transfer_encodings(_: Keys) -> bytes:
    return _mail(text(WORDS, extra="Content-Transfer-Encoding: base64\n" * 10))


@_specimen()
def _uuencode(_: Keys) -> bytes:
    body = f"begin 644 ../../{CANARY}.sh\n" + "M" + "A" * 60 + "\n" * 3 + "`\nend\n"
    both = [
        text(WORDS + body),
        entity("text/plain", body, extra="Content-Transfer-Encoding: x-uuencode\n"),
    ]
    return _mail(multipart("mixed", both))


@_specimen()
def _tnef(_: Keys) -> bytes:
    winmail = b"\x78\x9f\x3e\x22" + _gibberish(4000) + CANARY.encode()
    return _mail(
        multipart(
            "mixed", [text(WORDS), file(winmail, "winmail.dat", media_type="application/ms-tnef")]
        )
    )


@_specimen(smtputf8=True, reverse_path=f"käfer@{DOMAIN}")
def _smtputf8(_: Keys) -> bytes:
    return (
        f"From: {CANARY} Käfer <käfer@münchen.{DOMAIN}>\r\nTo: {ROLE}\r\n"
        f"Subject: {CANARY} schwächelt 🐞\r\nMessage-ID: <ü@{DOMAIN}>\r\n\r\n{WORDS}ß\r\n"
    ).encode()


@_specimen()
def _eight_bit_headers(_: Keys) -> bytes:
    return (
        f"From: K\xe4fer {CANARY} <{SENDER}>\r\nTo: {ROLE}\r\nSubject: schw\xe4che {CANARY}\r\n"
        f"X-\xe4: \xff\r\n\xe4: 1\r\nContent-Type: text/plain; name=\xe4\xff\r\n\r\n\xe4 {WORDS}"
    ).encode("latin-1")


# ── Sizes and counts ─────────────────────────────────────────────────────────────────────────────


@_specimen()
def _a_line_of_10_mb(_: Keys) -> bytes:
    return _mail(text(WORDS)) + b"x" * 10_000_000


@_specimen()
def _a_header_of_5_mb(_: Keys) -> bytes:
    return _mail(extra=b"X-Large: " + CANARY.encode() + b"y" * 5_000_000 + CRLF)


@_specimen()
def _a_folded_header_of_5_mb(_: Keys) -> bytes:
    return _mail(extra=b"Subject: " + (CANARY.encode() + b"\r\n ") * 250_000 + b"end\r\n")


@_specimen()
def _100_000_header_fields(_: Keys) -> bytes:
    return _mail(extra=b"".join(f"X-{n}: {CANARY}\r\n".encode() for n in range(100_000)))


@_specimen()
def _50_000_addresses(_: Keys) -> bytes:
    many = ",\r\n ".join(f'"{CANARY} {n}" <{n}@{DOMAIN}>' for n in range(50_000))
    return _mail(extra=f"To: {many}\r\nCc: {many}\r\n".encode())


@_specimen()
def _50_000_authors(_: Keys) -> bytes:
    many = ",\r\n ".join(f"{n}@{DOMAIN}" for n in range(50_000))
    return f"From: {many}\r\nSubject: {CANARY}\r\n\r\n{WORDS}".encode()


@_specimen()
def _5_000_authors_within_the_bounds(_: Keys) -> bytes:
    many = ",\r\n ".join(f"{n}@{DOMAIN}" for n in range(5_000))
    return f"From: {many}\r\nSubject: {CANARY}\r\n\r\n{WORDS}".encode()


@_specimen()
def _50_000_encoded_words(_: Keys) -> bytes:
    return _mail(extra=b"Subject:" + b" =?utf-8?q?=C3=A4?=\r\n" * 50_000)


@_specimen()
def _5_000_encoded_words_within_the_bounds(_: Keys) -> bytes:
    word = base64.b64encode(CANARY.encode()).decode()
    return _mail(extra=f"Subject:{f' =?utf-8?b?{word}?=' * 5_000}\r\n".encode())


@_specimen()
def _10_000_parameters(_: Keys) -> bytes:
    many = "".join(f';\n p{n}="{CANARY}"' for n in range(10_000))
    return _mail(entity(f"text/plain{many}", WORDS))


@_specimen()
def _10_000_continued_parameters(_: Keys) -> bytes:
    many = "".join(f";\n name*{n}*=utf-8''%E4%{CANARY}" for n in range(10_000))
    return _mail(
        entity(f"text/plain{many}", WORDS, extra=f"Content-Disposition: attachment{many}\n")
    )


@_specimen()
def _unclosed_quotes_and_comments(_: Keys) -> bytes:
    deep = "(" * 20_000 + CANARY
    head = f'From: "{CANARY} <{SENDER}>\nTo: {deep}\nContent-Type: text/plain; name="{deep}\n'
    return crlf(head + f"References: {deep}\n\n{WORDS}")


@_specimen()
def _comments_in_the_author(_: Keys) -> bytes:
    deep = "(" * 5_000 + CANARY + ")" * 5_000
    return crlf(f"From: {deep} {SENDER} {deep}\nSubject: {CANARY}\n\n{WORDS}")


@_specimen()
def _references_with_20_000_ids(_: Keys) -> bytes:
    return _mail(extra=b"References:" + b"".join(b"\r\n <%d@x>" % n for n in range(20_000)) + CRLF)


@_specimen()
def _references_with_8_000_ids_within_the_bounds(_: Keys) -> bytes:
    ids = b"".join(b"\r\n <%d@hostile.example>" % n for n in range(8_000))
    return _mail(extra=b"References:" + ids + CRLF)


@_specimen()
def _a_message_id_of_100_kb(_: Keys) -> bytes:
    head = f"From: {SENDER}\nMessage-ID: <{'x' * 100_000}@{DOMAIN}>\nSubject: {CANARY}\n\n{WORDS}"
    return crlf(head)


@_specimen()
def _hostile_message_ids(_: Keys) -> bytes:
    ids = (f"<a@b>\\r\\nBcc: {SENDER}", "<>", "<", "<<a@b>>", "<a b@c>", f'<"{CANARY}\x07"@c>',
           "<\u202e@\u2066>", "<a@b> (x) <c@d>", "x", "<../../../etc/passwd>", "<%s%n@x>")  # fmt: skip
    return crlf("".join(f"Message-ID: {one}\n" for one in ids) + f"From: {SENDER}\n\n{WORDS}")


@_specimen()
def _a_folded_message_id(_: Keys) -> bytes:
    return crlf(f"From: {SENDER}\nMessage-ID:\n <a\n b\n\t@{DOMAIN}>\n\n{WORDS}")


@_specimen()
def _an_absurd_date(_: Keys) -> bytes:
    dates = ("Fri, 99 Nov 99999999999999999 99:99:99 +9999", "Thu, 1 Jan 0000 00:00:00 -9999", "\x00",
             "1" * 10_000, "Mon, 31 Feb 1900 24:61:61 GMT", "now", "")  # fmt: skip
    return crlf("".join(f"Date: {one}\n" for one in dates) + f"From: {SENDER}\n\n{WORDS}")


# ── Structure ────────────────────────────────────────────────────────────────────────────────────


@_specimen()
def _no_boundary_parameter(_: Keys) -> bytes:
    return _mail(entity("multipart/mixed", WORDS + "--x\n\na\n--x--\n"))


@_specimen()
def _a_boundary_that_never_comes(_: Keys) -> bytes:
    return _mail(entity("multipart/mixed; boundary=never", WORDS))


@_specimen()
def _a_multipart_without_an_end(_: Keys) -> bytes:
    return _mail(multipart("mixed", [text(WORDS), text(WORDS)]).removesuffix(b"--bound--\r\n"))


@_specimen()
def _an_empty_boundary(_: Keys) -> bytes:
    return _mail(entity('multipart/mixed; boundary=""', f"--\n\n{WORDS}\n----\n"))


@_specimen()
def _a_boundary_of_100_kb(_: Keys) -> bytes:
    return _mail(multipart("mixed", [text(WORDS)], boundary="b" * 100_000))


@_specimen()
def _a_boundary_of_strange_octets(_: Keys) -> bytes:
    mark = b"\xff\x00(.*)+$\x1b[31m"
    head = b'Content-Type: multipart/mixed; boundary="' + mark + b'"\r\n\r\n--'
    return _mail(head + mark + CRLF + text(WORDS) + b"\r\n--" + mark + b"--\r\n")


@_specimen()
def _the_same_boundary_inside(_: Keys) -> bytes:
    inner = text(WORDS)
    for _depth in range(30):
        inner = multipart("mixed", [inner, text(WORDS)])
    return _mail(inner)


@_specimen()
def _many_boundaries(_: Keys) -> bytes:
    return _mail(
        multipart("mixed", [text(WORDS)], params="; boundary=b; boundary*0=c; boundary*=d''e")
    )


@_specimen()
def _1_000_nested_parts(_: Keys) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(1_000)
    )
    tail = b"".join(b"\r\n--b%d--\r\n" % n for n in reversed(range(1_000)))
    return _mail(head + text(WORDS) + tail)


@_specimen()
def _100_000_parts(_: Keys) -> bytes:
    return _mail(multipart("mixed", [b"\r\n" + CANARY.encode()] * 100_000))


@_specimen()
def _400_attachments(_: Keys) -> bytes:
    files = [file(b"x" * 50, f"{CANARY}{n}.txt") for n in range(400)]
    return _mail(multipart("mixed", [text(WORDS), *files]))


@_specimen()
def _a_mail_in_a_mail_in_a_mail(_: Keys) -> bytes:
    inner = _mail()
    for _depth in range(500):
        inner = crlf(f"Subject: {CANARY}\nContent-Type: message/rfc822\n\n") + inner
    return inner


@_specimen()
def _an_encoded_mail_in_a_mail(_: Keys) -> bytes:
    inner = _mail()
    for _depth in range(6):
        inner = entity(
            "message/rfc822", base64.encodebytes(inner), extra="Content-Transfer-Encoding: base64\n"
        )
    return _mail(inner)


@_specimen()
def _partial_and_external(_: Keys) -> bytes:
    parts = [
        entity(f'message/partial; id="{CANARY}"; number=1; total=99999999999', WORDS),
        entity(f"message/external-body; access-type=local-file; name=/etc/passwd; {CANARY}=1", ""),
        entity('message/external-body; access-type=URL; URL="http://127.0.0.1/"', ""),
        entity("message/delivery-status", "Action: failed\n" * 5_000),
    ]
    return _mail(multipart("mixed", parts))


@_specimen(reverse_path="")
def _a_report_of_nothing(_: Keys) -> bytes:
    status = entity("message/delivery-status", f"\x00\n\nAction: {CANARY}\nStatus: 9.9.9\n")
    parts = [text(WORDS), status, entity("message/rfc822", f"Message-ID: <{CANARY}\n")]
    return _mail(multipart("report", parts, params="; report-type=delivery-status"))


@_specimen()
def _many_content_types(_: Keys) -> bytes:
    kinds = ("multipart/mixed; boundary=a", "text/html", "message/rfc822", CANARY, "/", "", ";;;=")
    return _mail(
        b"".join(f"Content-Type: {kind}\r\n".encode() for kind in kinds) + CRLF + WORDS.encode()
    )


@_specimen()
def _html_that_wants_to_act(_: Keys) -> bytes:
    page = (
        f"<html><script>{CANARY}</script><img src=http://127.0.0.1/{CANARY}>"
        + "<div>" * 20_000
        + "<table>" * 5_000
        + "<a href='javascript:1'>" * 1_000
        + WORDS
        + "<!--" * 1_000
        + "&#0;&#xd800;&#99999999999;"
    )
    return _mail(entity("text/html", page))


@_specimen()
def _hostile_file_names(_: Keys) -> bytes:
    names = (f"../../{CANARY}", "/etc/passwd", "..", ".", "", "a\\b\\c", "CON", "x" * 10_000, "\u202egnp.exe",
             "a\x00.txt", "a\x1b[2Jb", "-rf", "~", "$(id)", "|id", "%00", "\ud7ff\ue000")  # fmt: skip
    return _mail(multipart("mixed", [text(WORDS), *(file(b"x", name) for name in names)]))


@_specimen()
def _bombs_as_attachments(_: Keys) -> bytes:
    """They are stored as they came: nobody unpacks them."""
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"../../{CANARY}", bytes(30_000_000))
    with tarfile.open(fileobj=tarred, mode="w:gz", compresslevel=1) as archive:
        entry = tarfile.TarInfo("/etc/passwd")
        entry.size = 10_000_000
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    files = [file(zipped.getvalue(), "a.zip", media_type="application/zip"),
             file(tarred.getvalue(), "a.tar.gz", media_type="application/gzip")]  # fmt: skip
    return _mail(multipart("mixed", [text(WORDS), *files]))


# ── Authors ──────────────────────────────────────────────────────────────────────────────────────


@_specimen()
def _no_author(_: Keys) -> bytes:
    return _mail(author=None)


@_specimen()
def _two_author_fields(_: Keys) -> bytes:
    return _mail(extra=f"From: {CANARY}@second.{DOMAIN}\r\n".encode())


@_specimen()
def _two_authors_in_a_field(_: Keys) -> bytes:
    return crlf(f"From: {SENDER}, second@{DOMAIN}\nSender: {SENDER}\nSubject: {CANARY}\n\n{WORDS}")


@_specimen()
def _an_author_that_injects(_: Keys) -> bytes:
    return crlf(
        f'From: "a\\\r\\\nBcc: victim@{DOMAIN}" <{SENDER}>\nReply-To: victim@{DOMAIN}\n'
        f"Subject: {CANARY}\n\n{WORDS}"
    )


@_specimen()
def _an_author_with_encoded_line_ends(_: Keys) -> bytes:
    word = base64.b64encode(f"a@b\r\nBcc: victim@{DOMAIN}".encode()).decode()
    return crlf(
        f"From: =?utf-8?b?{word}?= <{SENDER}>\nSubject: =?utf-8?b?{word}?= {CANARY}\n\n{WORDS}"
    )


@_specimen()
def _an_author_with_line_ends_in_the_address(_: Keys) -> bytes:
    return f"From: <a@b\rBcc:victim@{DOMAIN}>\r\nSubject: {CANARY}\r\n\r\n{WORDS}".encode()


@_specimen()
def _an_author_with_a_quoted_local_part(_: Keys) -> bytes:
    return crlf(f'From: "a b>\\" {CANARY}"@{DOMAIN}\nSubject: {CANARY}\n\n{WORDS}')


@_specimen()
def _an_author_with_options(_: Keys) -> bytes:
    return crlf(f"From: -oX/tmp/{CANARY}@{DOMAIN}\nSubject: -v {CANARY}\n\n{WORDS}")


@_specimen()
def _an_address_literal(_: Keys) -> bytes:
    return crlf(f"From: {CANARY}@[127.0.0.1]\nSubject: {CANARY}\n\n{WORDS}")


@_specimen()
def _a_source_route(_: Keys) -> bytes:
    return crlf(f"From: <@a,@b:{SENDER}>\nSubject: {CANARY}\n\n{WORDS}")


@_specimen()
def _groups(_: Keys) -> bytes:
    return crlf(
        f"From: {CANARY}: {SENDER}, b@{DOMAIN};\nTo: undisclosed-recipients:;\nCc: a:;,b:;\n\n{WORDS}"
    )


@_specimen()
def _an_empty_group_as_author(_: Keys) -> bytes:
    return crlf(f"From: {CANARY}:;\nSubject: {CANARY}\n\n{WORDS}")


@_specimen()
def _an_idn_author(_: Keys) -> bytes:
    return f"From: {CANARY}@xn--mnchen-3ya.{DOMAIN}\r\nSubject: {CANARY}\r\n\r\n{WORDS}".encode()


@_specimen()
def _a_utf_8_author(_: Keys) -> bytes:
    return f"From: {CANARY} <пример@пример.испытание>\r\nSubject: {CANARY}\r\n\r\n{WORDS}".encode()


@_specimen()
def _an_address_that_is_too_long(_: Keys) -> bytes:
    return crlf(f"From: {'a' * 64}@{'b.' * 3_000}{DOMAIN}\nSubject: {CANARY}\n\n{WORDS}")


@_specimen(reverse_path="")
def _the_null_sender(_: Keys) -> bytes:
    return _mail()


@_specimen(reverse_path=ROLE)
def _the_alias_as_author(_: Keys) -> bytes:
    return crlf(f"From: {CANARY} <{ROLE}>\nTo: {ROLE}\nSubject: {CANARY}\n\n{WORDS}")


@_specimen()
def _a_tagged_alias_as_author(_: Keys) -> bytes:
    return crlf(f"From: SECURITY+sb-{'a' * 26}@EXAMPLE.ORG\nSubject: {CANARY}\n\n{WORDS}")


@_specimen()
def _a_forged_origin(_: Keys) -> bytes:
    return _mail(
        extra=b"X-Secbridge-Origin: " + b"0" * 64 + b"\r\nAuto-Submitted: auto-replied\r\n"
    )


# ── Signs in every field ─────────────────────────────────────────────────────────────────────────

_SIGNS = (
    f"{CANARY} \u202e\u2066evil\u2069 \u200b\u200d\ufeff \u0000\u0007\u001b[31;1m\u001b]0;t\u0007\u009b2J "
    "\u2028\u2029\ud7ff\U000e0041 /close /label ~x @all #1 !1 $1 &1 %1 "
    "```\n /quick [a](javascript:1) ![i](http://127.0.0.1/) <script>1</script> &lt; {{7*7}} {% x %} ${7} "
    "{code} {noformat} h1. x |t| ~~~ <details> --- \\ % s %n"
)


def _header_fields() -> Iterator[Specimen]:
    """Yield one mail for each field that is looked at, with every sign that acts anywhere."""
    fields = ("From", "Subject", "To", "Cc", "Reply-To", "Date", "Message-ID", "In-Reply-To",
              "References", "Content-Type", "Content-Disposition", "Content-Transfer-Encoding",
              "Autocrypt", "Auto-Submitted", "List-Id", "X-Spam-Flag", "Return-Path")  # fmt: skip
    word = base64.b64encode(_SIGNS.encode()).decode()
    flat = _SIGNS.replace("\n", "\r\n ")
    for field in fields:
        shapes = [flat, f"=?utf-8?b?{word}?=", f'"{flat}" <{SENDER}>', f"x/y; name*=utf-8''{flat}"]
        lines = "".join(f"{field}: {shape}\r\n" for shape in shapes)
        sender = "" if field == "From" else f"From: {SENDER}\r\n"
        content = f"{sender}{lines}MIME-Version: 1.0\r\n\r\n{WORDS}{_SIGNS}\r\n".encode()
        yield Specimen(f"signs-in-{field.lower()}", content)
    one = f'From: "{flat}" <{SENDER}>\r\nSubject: {flat}\r\n\r\n{WORDS}'
    yield Specimen("signs-in-the-display-name", one.encode())


def _automatic() -> Iterator[Specimen]:
    """Yield what machines write, and what only looks like it."""
    marks = (
        "Auto-Submitted: auto-replied", "Auto-Submitted: auto-generated", "Auto-Submitted: no",
        f"Auto-Submitted: {CANARY}", "Auto-Submitted: (no) auto-notified; owner=x", "Auto-Submitted:",
        "Precedence: bulk", "Precedence: list", f"List-Id: <{CANARY}>", "X-Auto-Response-Suppress: All",
        "X-Failed-Recipients: a@b", "X-Spam-Flag: YES",
    )  # fmt: skip
    for number, mark in enumerate(marks):
        yield Specimen(f"automatic-{number}", _mail(extra=f"{mark}\r\n".encode()))


# ── OpenPGP ──────────────────────────────────────────────────────────────────────────────────────


@_specimen()
def _armored_garbage(_: Keys) -> bytes:
    armor = base64.encodebytes(_gibberish(3_000)).decode()
    lines = f"-----BEGIN PGP MESSAGE-----\n\n{armor}=AAAA\n-----END PGP MESSAGE-----\n"
    return _mail(encrypted(lines.encode()))


@_specimen()
def _half_an_armor(keys: Keys) -> bytes:
    armor = keys.reporter.encrypt(WORDS.encode(), keys.role_fpr)
    return _mail(
        multipart("mixed", [text((armor[: len(armor) // 2]).decode()), encrypted(armor[:300])])
    )


@_specimen()
def _a_packet_of_4_gib(_: Keys) -> bytes:
    """New-format lengths that promise more than there is, and partial lengths without an end."""
    packets = (
        b"\xd2\xff\xff\xff\xff\xff"
        + _gibberish(1_000)
        + b"\xc1\xff\x00\x00\x00\xff"
        + b"\xd2\xe0" * 500
    )
    armor = base64.encodebytes(packets).decode()
    return _mail(
        encrypted(f"-----BEGIN PGP MESSAGE-----\n\n{armor}-----END PGP MESSAGE-----\n".encode())
    )


@_specimen()
def _encrypted_without_ciphertext(_: Keys) -> bytes:
    return _mail(encrypted(WORDS.encode()))


@_specimen()
def _encrypted_with_a_wrong_control_part(keys: Keys) -> bytes:
    armor = keys.reporter.encrypt(text(WORDS), keys.role_fpr)
    return _mail(encrypted(armor).replace(b"Version: 1", b"Version: " + CANARY.encode() * 500))


@_specimen()
def _nested_encrypted_multiparts(_: Keys) -> bytes:
    inner = text(WORDS)
    for depth in range(100):
        inner = multipart("encrypted", [entity("application/pgp-encrypted", "Version: 1\n"), inner],
                          boundary=f"e{depth}", params='; protocol="application/pgp-encrypted"')  # fmt: skip
    return _mail(inner)


@_specimen()
def _twelve_real_layers(keys: Keys) -> bytes:
    inner = text(WORDS)
    for depth in range(12):
        inner = encrypted(keys.reporter.encrypt(inner, keys.role_fpr), boundary=f"l{depth}")
    return _mail(inner)


@_specimen()
def _two_hundred_ciphertexts(keys: Keys) -> bytes:
    armor = keys.reporter.encrypt(WORDS.encode(), keys.role_fpr)
    return _mail(
        multipart("mixed", [text(armor.decode(), extra=f"X-N: {n}\n") for n in range(200)])
    )


@_specimen()
def _ciphertexts_one_after_the_other(keys: Keys) -> bytes:
    armor = keys.reporter.encrypt(WORDS.encode(), keys.role_fpr)
    return _mail(text((armor * 100).decode()))


@_specimen()
def _two_hundred_signatures(keys: Keys) -> bytes:
    one = keys.reporter.clearsign(WORDS.encode(), keys.reporter_fpr).decode()
    return _mail(text(one * 200))


@_specimen()
def _a_signature_over_nothing(_: Keys) -> bytes:
    return _mail(
        signed(b"", b"-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n")
    )


@_specimen()
def _a_bomb_of_1_gib(keys: Keys) -> bytes:
    return _mail(encrypted(base64_armor(_bomb(keys.reporter, keys.role_fpr))))


@_specimen()
def _a_bomb_without_encryption(_: Keys) -> bytes:
    """Compressed data (tag 8, ZLIB) around 200 MB of literal zeros; nobody encrypted it."""
    return _mail(text(base64_armor(_compressed(200_000_000)).decode()))


@_specimen()
def _a_hundred_certificates(keys: Keys) -> bytes:
    certificate = keys.reporter_cert
    files = [
        file(certificate, f"{CANARY}{n}.asc", media_type="application/pgp-keys") for n in range(100)
    ]
    return _mail(multipart("mixed", [text(WORDS), *files]))


@_specimen()
def _garbage_as_certificate(keys: Keys) -> bytes:
    broken = keys.reporter_cert[:100] + _gibberish(50_000)
    ciphertext = encrypted(keys.reporter.encrypt(
        multipart("mixed", [text(WORDS), file(broken, "key.asc", media_type="application/pgp-keys")]),
        keys.role_fpr))  # fmt: skip
    return _mail(ciphertext, extra=f"Autocrypt: addr={SENDER}; keydata={'A' * 5_000}\r\n".encode())


@_specimen(reverse_path=REPORTER)
def _signs_in_the_protected_header(keys: Keys) -> bytes:
    """The reporter himself is hostile: encrypted, signed, and every field wants to act."""
    flat = _SIGNS.replace("\n", "\n ")
    inner = crlf(f'Subject: {flat}\nFrom: "{flat}" <{REPORTER}>\n') + multipart(
        "mixed",
        [text(WORDS + _SIGNS), file(b"x", f"\u202e{CANARY}\x1b[2J"),
         file(keys.reporter_cert, "key.asc", media_type="application/pgp-keys")],
        params='; hp="cipher"',
    )  # fmt: skip
    armor = keys.reporter.encrypt(inner, keys.role_fpr, sign=keys.reporter_fpr)
    return header(author=REPORTER) + encrypted(armor)


def base64_armor(octets: bytes) -> bytes:
    """Return octets as an armored message (RFC 9580 section 6.2)."""
    lines = base64.encodebytes(octets)
    return b"-----BEGIN PGP MESSAGE-----\n\n" + lines + b"-----END PGP MESSAGE-----\n"


def _bomb(ring: Ring, to: str) -> bytes:
    """Return one gibibyte of zeros, encrypted: about a megabyte."""
    command = ["gpg", "--homedir", str(ring.home), "--batch", "--no-tty", "--quiet", "--trust-model",
               "always", "--compress-algo", "zlib", "--compress-level", "1", "-r", to, "--encrypt"]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as gpg:
        assert gpg.stdin is not None
        assert gpg.stdout is not None
        zeros = bytes(1 << 20)
        for _ in range(1 << 10):
            gpg.stdin.write(zeros)
        gpg.stdin.close()
        return gpg.stdout.read()


def _compressed(size: int) -> bytes:
    literal = b"\xcb\xff" + struct.pack(">I", size + 6) + b"b\x00\x00\x00\x00\x00"
    packer = zlib.compressobj(1)
    body = b"\x02" + packer.compress(literal)
    zeros = bytes(1 << 20)
    for _ in range(size // len(zeros) + 1):
        body += packer.compress(zeros)
    body += packer.flush()
    return b"\xc8\xff" + struct.pack(">I", len(body)) + body

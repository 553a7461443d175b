"""Mails that are none, and octets without meaning: line ends, encodings, character sets."""

from __future__ import annotations

from tests.support.hostile.specimen import (
    CANARY,
    DOMAIN,
    SENDER,
    WORDS,
    a_mail,
    gibberish,
    specimen,
)
from tests.support.keys import ROLE, Keys
from tests.support.mails import CRLF, crlf, entity, file, multipart, text


@specimen()
def _empty(_: Keys) -> bytes:
    return b""


@specimen()
def _one_line_end(_: Keys) -> bytes:
    return CRLF


@specimen()
def _headers_only(_: Keys) -> bytes:
    return crlf(f"From: {SENDER}\nSubject: {CANARY}\n")


@specimen()
def _headers_without_an_end(_: Keys) -> bytes:
    return f"From: {SENDER}\r\nSubject: {CANARY}".encode()


@specimen()
def _body_only(_: Keys) -> bytes:
    return CRLF + WORDS.encode()


@specimen()
def _text_without_any_header(_: Keys) -> bytes:
    return crlf(f"{WORDS}no colon here\n\n{WORDS}")


@specimen()
def _nul_octets_everywhere(_: Keys) -> bytes:
    return (
        f"From: \0{SENDER}\r\nSub\0ject: {CANARY}\0\r\nSubject: {CANARY}\0\r\n\0\r\n\r\n"
        f"{CANARY}\0\0\0{WORDS}"
    ).encode() + bytes(10_000)


@specimen()
def _every_octet(_: Keys) -> bytes:
    return a_mail() + bytes(range(256)) * 64


@specimen()
def _gibberish_alone(_: Keys) -> bytes:
    return gibberish(200_000)


@specimen()
def _only_bare_cr(_: Keys) -> bytes:
    return a_mail().replace(b"\r\n", b"\r")


@specimen()
def _only_bare_lf(_: Keys) -> bytes:
    return a_mail().replace(b"\r\n", b"\n")


@specimen()
def _a_million_bare_cr(_: Keys) -> bytes:
    return b"\r" * 1_000_000


@specimen()
def _a_million_line_ends(_: Keys) -> bytes:
    return CRLF * 1_000_000


@specimen()
def _mixed_line_ends(_: Keys) -> bytes:
    ends = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r"]
    lines = a_mail(multipart("mixed", [text(WORDS), file(b"x", f"{CANARY}.bin")])).split(CRLF)
    return b"".join(line + ends[n % len(ends)] for n, line in enumerate(lines))


@specimen()
def _smuggling(_: Keys) -> bytes:
    return a_mail() + b"\n.\r\nMAIL FROM:<x@y>\r\nRCPT TO:<z@w>\n.\nDATA\r.\r" + WORDS.encode()


@specimen()
def _bad_utf_8(_: Keys) -> bytes:
    body = entity("text/plain; charset=utf-8", b"\xff\xfe\xc0\xaf\xed\xa0\x80 " + WORDS.encode())
    return a_mail(body, extra=b"Subject: \xff\xfe\xed\xa0\x80\xf5\r\n")


@specimen()
def _unknown_charset(_: Keys) -> bytes:
    return a_mail(text(WORDS, charset=f"x-{CANARY}"), extra=b"X-A: =?klingon?q?qapla=27?=\r\n")


@specimen()
def _charsets_that_are_codecs(_: Keys) -> bytes:
    """Names that Python's codecs know and that are no character sets."""
    names = ("zlib", "bz2", "base64", "rot13", "idna", "punycode", "undefined", "unicode_escape",
             "raw_unicode_escape", "utf-7", "utf-16", "utf-32", "mbcs", "oem", "../../etc/passwd",
             "a" * 5000, "\x00", "utf-8\r\nX-Injected: 1", "")  # fmt: skip
    return a_mail(multipart("mixed", [text(WORDS, charset=f'"{name}"') for name in names]))


@specimen()
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
    return a_mail(extra=crlf(f"Subject: {words}\nComments: {words}\nReply-To: {words}\n"))


@specimen()
def _base64_garbage(_: Keys) -> bytes:
    body = b"!!!=A=B=C====\x00\xff" + CANARY.encode() + b"\r\n" + b"A" * 77_777
    return a_mail(entity("text/plain", body, extra="Content-Transfer-Encoding: base64\n"))


@specimen()
def _quoted_printable_garbage(_: Keys) -> bytes:
    body = b"=\x00=ZZ=0=\r\n==3D=" + b"=" * 100_000 + CANARY.encode()
    return a_mail(entity("text/plain", body, extra="Content-Transfer-Encoding: quoted-printable\n"))


@specimen()
def _unknown_transfer_encoding(_: Keys) -> bytes:
    return a_mail(text(WORDS, extra=f"Content-Transfer-Encoding: {CANARY}\n"))


@specimen()
def _ten_transfer_encodings(_: Keys) -> bytes:
    return a_mail(text(WORDS, extra="Content-Transfer-Encoding: base64\n" * 10))


@specimen()
def _uuencode(_: Keys) -> bytes:
    body = f"begin 644 ../../{CANARY}.sh\n" + "M" + "A" * 60 + "\n" * 3 + "`\nend\n"
    both = [
        text(WORDS + body),
        entity("text/plain", body, extra="Content-Transfer-Encoding: x-uuencode\n"),
    ]
    return a_mail(multipart("mixed", both))


@specimen()
def _tnef(_: Keys) -> bytes:
    winmail = b"\x78\x9f\x3e\x22" + gibberish(4000) + CANARY.encode()
    return a_mail(
        multipart(
            "mixed", [text(WORDS), file(winmail, "winmail.dat", media_type="application/ms-tnef")]
        )
    )


@specimen(smtputf8=True, reverse_path=f"käfer@{DOMAIN}")
def _smtputf8(_: Keys) -> bytes:
    return (
        f"From: {CANARY} Käfer <käfer@münchen.{DOMAIN}>\r\nTo: {ROLE}\r\n"
        f"Subject: {CANARY} schwächelt 🐞\r\nMessage-ID: <ü@{DOMAIN}>\r\n\r\n{WORDS}ß\r\n"
    ).encode()


@specimen()
def _eight_bit_headers(_: Keys) -> bytes:
    return (
        f"From: K\xe4fer {CANARY} <{SENDER}>\r\nTo: {ROLE}\r\nSubject: schw\xe4che {CANARY}\r\n"
        f"X-\xe4: \xff\r\n\xe4: 1\r\nContent-Type: text/plain; name=\xe4\xff\r\n\r\n\xe4 {WORDS}"
    ).encode("latin-1")

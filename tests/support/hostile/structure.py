"""Mails whose parts do not fit together, or never end."""

from __future__ import annotations

import base64
import io
import tarfile
import zipfile

from tests.support.hostile.specimen import (
    CANARY,
    WORDS,
    a_mail,
    specimen,
)
from tests.support.keys import Keys
from tests.support.mails import CRLF, crlf, entity, file, multipart, text


@specimen()
def _no_boundary_parameter(_: Keys) -> bytes:
    return a_mail(entity("multipart/mixed", WORDS + "--x\n\na\n--x--\n"))


@specimen()
def _a_boundary_that_never_comes(_: Keys) -> bytes:
    return a_mail(entity("multipart/mixed; boundary=never", WORDS))


@specimen()
def _a_multipart_without_an_end(_: Keys) -> bytes:
    return a_mail(multipart("mixed", [text(WORDS), text(WORDS)]).removesuffix(b"--bound--\r\n"))


@specimen()
def _an_empty_boundary(_: Keys) -> bytes:
    return a_mail(entity('multipart/mixed; boundary=""', f"--\n\n{WORDS}\n----\n"))


@specimen()
def _a_boundary_of_100_kb(_: Keys) -> bytes:
    return a_mail(multipart("mixed", [text(WORDS)], boundary="b" * 100_000))


@specimen()
def _a_boundary_of_strange_octets(_: Keys) -> bytes:
    mark = b"\xff\x00(.*)+$\x1b[31m"
    head = b'Content-Type: multipart/mixed; boundary="' + mark + b'"\r\n\r\n--'
    return a_mail(head + mark + CRLF + text(WORDS) + b"\r\n--" + mark + b"--\r\n")


@specimen()
def _the_same_boundary_inside(_: Keys) -> bytes:
    inner = text(WORDS)
    for _depth in range(30):
        inner = multipart("mixed", [inner, text(WORDS)])
    return a_mail(inner)


@specimen()
def _many_boundaries(_: Keys) -> bytes:
    return a_mail(
        multipart("mixed", [text(WORDS)], params="; boundary=b; boundary*0=c; boundary*=d''e")
    )


@specimen()
def _1_000_nested_parts(_: Keys) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(1_000)
    )
    tail = b"".join(b"\r\n--b%d--\r\n" % n for n in reversed(range(1_000)))
    return a_mail(head + text(WORDS) + tail)


@specimen()
def _100_000_parts(_: Keys) -> bytes:
    return a_mail(multipart("mixed", [b"\r\n" + CANARY.encode()] * 100_000))


@specimen()
def _400_attachments(_: Keys) -> bytes:
    files = [file(b"x" * 50, f"{CANARY}{n}.txt") for n in range(400)]
    return a_mail(multipart("mixed", [text(WORDS), *files]))


@specimen()
def _a_mail_in_a_mail_in_a_mail(_: Keys) -> bytes:
    inner = a_mail()
    for _depth in range(500):
        inner = crlf(f"Subject: {CANARY}\nContent-Type: message/rfc822\n\n") + inner
    return inner


@specimen()
def _an_encoded_mail_in_a_mail(_: Keys) -> bytes:
    inner = a_mail()
    for _depth in range(6):
        inner = entity(
            "message/rfc822", base64.encodebytes(inner), extra="Content-Transfer-Encoding: base64\n"
        )
    return a_mail(inner)


@specimen()
def _partial_and_external(_: Keys) -> bytes:
    parts = [
        entity(f'message/partial; id="{CANARY}"; number=1; total=99999999999', WORDS),
        entity(f"message/external-body; access-type=local-file; name=/etc/passwd; {CANARY}=1", ""),
        entity('message/external-body; access-type=URL; URL="http://127.0.0.1/"', ""),
        entity("message/delivery-status", "Action: failed\n" * 5_000),
    ]
    return a_mail(multipart("mixed", parts))


@specimen(reverse_path="")
def _a_report_of_nothing(_: Keys) -> bytes:
    status = entity("message/delivery-status", f"\x00\n\nAction: {CANARY}\nStatus: 9.9.9\n")
    parts = [text(WORDS), status, entity("message/rfc822", f"Message-ID: <{CANARY}\n")]
    return a_mail(multipart("report", parts, params="; report-type=delivery-status"))


@specimen()
def _many_content_types(_: Keys) -> bytes:
    kinds = ("multipart/mixed; boundary=a", "text/html", "message/rfc822", CANARY, "/", "", ";;;=")
    return a_mail(
        b"".join(f"Content-Type: {kind}\r\n".encode() for kind in kinds) + CRLF + WORDS.encode()
    )


@specimen()
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
    return a_mail(entity("text/html", page))


@specimen()
def _hostile_file_names(_: Keys) -> bytes:
    names = (f"../../{CANARY}", "/etc/passwd", "..", ".", "", "a\\b\\c", "CON", "x" * 10_000,
             "\u202egnp.exe", "a\x00.txt", "a\x1b[2Jb", "-rf", "~", "$(id)", "|id", "%00",
             "\ud7ff\ue000")  # fmt: skip
    return a_mail(multipart("mixed", [text(WORDS), *(file(b"x", name) for name in names)]))


@specimen()
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
    return a_mail(multipart("mixed", [text(WORDS), *files]))

"""Mails with too much of something, and some just within the bounds."""

from __future__ import annotations

import base64

from tests.support.hostile.specimen import (
    CANARY,
    DOMAIN,
    SENDER,
    WORDS,
    a_mail,
    specimen,
)
from tests.support.keys import Keys
from tests.support.mails import CRLF, crlf, entity, text


@specimen()
def _a_line_of_10_mb(_: Keys) -> bytes:
    return a_mail(text(WORDS)) + b"x" * 10_000_000


@specimen()
def _a_header_of_5_mb(_: Keys) -> bytes:
    return a_mail(extra=b"X-Large: " + CANARY.encode() + b"y" * 5_000_000 + CRLF)


@specimen()
def _a_folded_header_of_5_mb(_: Keys) -> bytes:
    return a_mail(extra=b"Subject: " + (CANARY.encode() + b"\r\n ") * 250_000 + b"end\r\n")


@specimen()
def _100_000_header_fields(_: Keys) -> bytes:
    return a_mail(extra=b"".join(f"X-{n}: {CANARY}\r\n".encode() for n in range(100_000)))


@specimen()
def _50_000_addresses(_: Keys) -> bytes:
    many = ",\r\n ".join(f'"{CANARY} {n}" <{n}@{DOMAIN}>' for n in range(50_000))
    return a_mail(extra=f"To: {many}\r\nCc: {many}\r\n".encode())


@specimen()
def _50_000_authors(_: Keys) -> bytes:
    many = ",\r\n ".join(f"{n}@{DOMAIN}" for n in range(50_000))
    return f"From: {many}\r\nSubject: {CANARY}\r\n\r\n{WORDS}".encode()


@specimen()
def _5_000_authors_within_the_bounds(_: Keys) -> bytes:
    many = ",\r\n ".join(f"{n}@{DOMAIN}" for n in range(5_000))
    return f"From: {many}\r\nSubject: {CANARY}\r\n\r\n{WORDS}".encode()


@specimen()
def _50_000_encoded_words(_: Keys) -> bytes:
    return a_mail(extra=b"Subject:" + b" =?utf-8?q?=C3=A4?=\r\n" * 50_000)


@specimen()
def _5_000_encoded_words_within_the_bounds(_: Keys) -> bytes:
    word = base64.b64encode(CANARY.encode()).decode()
    return a_mail(extra=f"Subject:{f' =?utf-8?b?{word}?=' * 5_000}\r\n".encode())


@specimen()
def _10_000_parameters(_: Keys) -> bytes:
    many = "".join(f';\n p{n}="{CANARY}"' for n in range(10_000))
    return a_mail(entity(f"text/plain{many}", WORDS))


@specimen()
def _10_000_continued_parameters(_: Keys) -> bytes:
    many = "".join(f";\n name*{n}*=utf-8''%E4%{CANARY}" for n in range(10_000))
    return a_mail(
        entity(f"text/plain{many}", WORDS, extra=f"Content-Disposition: attachment{many}\n")
    )


@specimen()
def _unclosed_quotes_and_comments(_: Keys) -> bytes:
    deep = "(" * 20_000 + CANARY
    head = f'From: "{CANARY} <{SENDER}>\nTo: {deep}\nContent-Type: text/plain; name="{deep}\n'
    return crlf(head + f"References: {deep}\n\n{WORDS}")


@specimen()
def _comments_in_the_author(_: Keys) -> bytes:
    deep = "(" * 5_000 + CANARY + ")" * 5_000
    return crlf(f"From: {deep} {SENDER} {deep}\nSubject: {CANARY}\n\n{WORDS}")


@specimen()
def _references_with_20_000_ids(_: Keys) -> bytes:
    return a_mail(extra=b"References:" + b"".join(b"\r\n <%d@x>" % n for n in range(20_000)) + CRLF)


@specimen()
def _references_with_8_000_ids_within_the_bounds(_: Keys) -> bytes:
    ids = b"".join(b"\r\n <%d@hostile.example>" % n for n in range(8_000))
    return a_mail(extra=b"References:" + ids + CRLF)


@specimen()
def _a_message_id_of_100_kb(_: Keys) -> bytes:
    head = f"From: {SENDER}\nMessage-ID: <{'x' * 100_000}@{DOMAIN}>\nSubject: {CANARY}\n\n{WORDS}"
    return crlf(head)


@specimen()
def _hostile_message_ids(_: Keys) -> bytes:
    ids = (f"<a@b>\\r\\nBcc: {SENDER}", "<>", "<", "<<a@b>>", "<a b@c>", f'<"{CANARY}\x07"@c>',
           "<\u202e@\u2066>", "<a@b> (x) <c@d>", "x",
           "<../../../etc/passwd>", "<%s%n@x>")  # fmt: skip
    return crlf("".join(f"Message-ID: {one}\n" for one in ids) + f"From: {SENDER}\n\n{WORDS}")


@specimen()
def _a_folded_message_id(_: Keys) -> bytes:
    return crlf(f"From: {SENDER}\nMessage-ID:\n <a\n b\n\t@{DOMAIN}>\n\n{WORDS}")


@specimen()
def _an_absurd_date(_: Keys) -> bytes:
    dates = ("Fri, 99 Nov 99999999999999999 99:99:99 +9999", "Thu, 1 Jan 0000 00:00:00 -9999",
             "\x00", "1" * 10_000, "Mon, 31 Feb 1900 24:61:61 GMT", "now", "")  # fmt: skip
    return crlf("".join(f"Date: {one}\n" for one in dates) + f"From: {SENDER}\n\n{WORDS}")

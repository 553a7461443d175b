"""Mails that say something strange about who wrote them."""

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
from tests.support.keys import ROLE, Keys
from tests.support.mails import crlf


@specimen()
def _no_author(_: Keys) -> bytes:
    return a_mail(author=None)


@specimen()
def _two_author_fields(_: Keys) -> bytes:
    return a_mail(extra=f"From: {CANARY}@second.{DOMAIN}\r\n".encode())


@specimen()
def _two_authors_in_a_field(_: Keys) -> bytes:
    return crlf(f"From: {SENDER}, second@{DOMAIN}\nSender: {SENDER}\nSubject: {CANARY}\n\n{WORDS}")


@specimen()
def _an_author_that_injects(_: Keys) -> bytes:
    return crlf(
        f'From: "a\\\r\\\nBcc: victim@{DOMAIN}" <{SENDER}>\nReply-To: victim@{DOMAIN}\n'
        f"Subject: {CANARY}\n\n{WORDS}"
    )


@specimen()
def _an_author_with_encoded_line_ends(_: Keys) -> bytes:
    word = base64.b64encode(f"a@b\r\nBcc: victim@{DOMAIN}".encode()).decode()
    return crlf(
        f"From: =?utf-8?b?{word}?= <{SENDER}>\nSubject: =?utf-8?b?{word}?= {CANARY}\n\n{WORDS}"
    )


@specimen()
def _an_author_with_line_ends_in_the_address(_: Keys) -> bytes:
    return f"From: <a@b\rBcc:victim@{DOMAIN}>\r\nSubject: {CANARY}\r\n\r\n{WORDS}".encode()


@specimen()
def _an_author_with_a_quoted_local_part(_: Keys) -> bytes:
    return crlf(f'From: "a b>\\" {CANARY}"@{DOMAIN}\nSubject: {CANARY}\n\n{WORDS}')


@specimen()
def _an_author_with_options(_: Keys) -> bytes:
    return crlf(f"From: -oX/tmp/{CANARY.lower()}@{DOMAIN}\nSubject: -v {CANARY}\n\n{WORDS}")


@specimen()
def _an_address_literal(_: Keys) -> bytes:
    return crlf(f"From: {CANARY}@[127.0.0.1]\nSubject: {CANARY}\n\n{WORDS}")


@specimen()
def _a_source_route(_: Keys) -> bytes:
    return crlf(f"From: <@a,@b:{SENDER}>\nSubject: {CANARY}\n\n{WORDS}")


@specimen()
def _groups(_: Keys) -> bytes:
    return crlf(
        f"From: {CANARY}: {SENDER}, b@{DOMAIN};\nTo: undisclosed-recipients:;\n"
        f"Cc: a:;,b:;\n\n{WORDS}"
    )


@specimen()
def _an_empty_group_as_author(_: Keys) -> bytes:
    return crlf(f"From: {CANARY}:;\nSubject: {CANARY}\n\n{WORDS}")


@specimen()
def _an_idn_author(_: Keys) -> bytes:
    return crlf(f"From: idn@xn--mnchen-3ya.{DOMAIN}\nSubject: {CANARY}\n\n{WORDS}")


@specimen()
def _a_utf_8_author(_: Keys) -> bytes:
    return f"From: {CANARY} <пример@пример.испытание>\r\nSubject: {CANARY}\r\n\r\n{WORDS}".encode()


@specimen()
def _an_address_that_is_too_long(_: Keys) -> bytes:
    return crlf(f"From: {'a' * 64}@{'b.' * 3_000}{DOMAIN}\nSubject: {CANARY}\n\n{WORDS}")


@specimen(reverse_path="")
def _the_null_sender(_: Keys) -> bytes:
    return a_mail()


@specimen(reverse_path=ROLE)
def _the_alias_as_author(_: Keys) -> bytes:
    return crlf(f"From: {CANARY} <{ROLE}>\nTo: {ROLE}\nSubject: {CANARY}\n\n{WORDS}")


@specimen()
def _a_tagged_alias_as_author(_: Keys) -> bytes:
    return crlf(f"From: SECURITY+sb-{'a' * 26}@EXAMPLE.ORG\nSubject: {CANARY}\n\n{WORDS}")


@specimen()
def _a_forged_origin(_: Keys) -> bytes:
    return a_mail(
        extra=b"X-Secbridge-Origin: " + b"0" * 64 + b"\r\nAuto-Submitted: auto-replied\r\n"
    )

"""Mails with signs that act somewhere, in every field; and mails of machines."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from tests.support.hostile.specimen import (
    CANARY,
    SENDER,
    SIGNS,
    WORDS,
    Specimen,
    a_mail,
)


def in_header_fields() -> Iterator[Specimen]:
    """Yield one mail for each field that is looked at, with every sign that acts anywhere."""
    fields = ("From", "Subject", "To", "Cc", "Reply-To", "Date", "Message-ID", "In-Reply-To",
              "References", "Content-Type", "Content-Disposition", "Content-Transfer-Encoding",
              "Autocrypt", "Auto-Submitted", "List-Id", "X-Spam-Flag", "Return-Path")  # fmt: skip
    word = base64.b64encode(SIGNS.encode()).decode()
    flat = SIGNS.replace("\n", "\r\n ")
    for field in fields:
        shapes = [flat, f"=?utf-8?b?{word}?=", f'"{flat}" <{SENDER}>', f"x/y; name*=utf-8''{flat}"]
        lines = "".join(f"{field}: {shape}\r\n" for shape in shapes)
        sender = "" if field == "From" else f"From: {SENDER}\r\n"
        content = f"{sender}{lines}MIME-Version: 1.0\r\n\r\n{WORDS}{SIGNS}\r\n".encode()
        yield Specimen(f"signs-in-{field.lower()}", content)
    one = f'From: "{flat}" <{SENDER}>\r\nSubject: {flat}\r\n\r\n{WORDS}'
    yield Specimen("signs-in-the-display-name", one.encode())


def of_machines() -> Iterator[Specimen]:
    """Yield what machines write, and what only looks like it."""
    marks = (
        "Auto-Submitted: auto-replied", "Auto-Submitted: auto-generated", "Auto-Submitted: no",
        f"Auto-Submitted: {CANARY}", "Auto-Submitted: (no) auto-notified; owner=x",
        "Auto-Submitted:",
        "Precedence: bulk", "Precedence: list", f"List-Id: <{CANARY}>",
        "X-Auto-Response-Suppress: All",
        "X-Failed-Recipients: a@b", "X-Spam-Flag: YES",
    )  # fmt: skip
    for number, mark in enumerate(marks):
        yield Specimen(f"automatic-{number}", a_mail(extra=f"{mark}\r\n".encode()))

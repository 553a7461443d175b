"""What do all hostile mails share?  A canary, a sender, and a collection to stand in."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from tests.support.keys import ROLE, Keys
from tests.support.mails import crlf, text

CANARY = "Kanariengirlitz"
"""Stands in subjects, bodies, file names, display names and parameters, and in no log."""

DOMAIN = "hostile.example"
"""The domain of all senders: no address of a reporter stands in a log either."""

SENDER = f"{CANARY.lower()}@{DOMAIN}"

WORDS = f"A heap overflow in version 1.2.3, src/parse.c:120, CVE-2026-1234 {CANARY}.\n"

SIGNS = (
    f"{CANARY} \u202e\u2066evil\u2069 \u200b\u200d\ufeff"
    " \u0000\u0007\u001b[31;1m\u001b]0;t\u0007\u009b2J"
    " \u2028\u2029\ud7ff\U000e0041 /close /label ~x @all #1 !1 $1 &1 %1 "
    "```\n /quick [a](javascript:1) ![i](http://127.0.0.1/) <script>1</script>"
    " &lt; {{7*7}} {% x %} ${7} "
    "{code} {noformat} h1. x |t| ~~~ <details> --- \\ % s %n"
)
"""What acts somewhere: terminals, bidi, quick actions, markup of every tracker, templates."""

Make = Callable[[Keys], bytes]


@dataclass(frozen=True)
class Specimen:
    """One hostile mail.  ``smtputf8``: MAIL says so."""

    name: str
    content: bytes
    reverse_path: str = SENDER
    smtputf8: bool = False


_ALL: list[tuple[Make, str, bool]] = []


def specimen(*, reverse_path: str = SENDER, smtputf8: bool = False) -> Callable[[Make], Make]:
    """Put a function that makes a mail into the collection, under its own name."""

    def keep(make: Make) -> Make:
        _ALL.append((make, reverse_path, smtputf8))
        return make

    return keep


def collected(module: str, keys: Keys, only: Collection[str]) -> Iterator[Specimen]:
    """Make the mails of one module, in its order, or ``only`` some of them."""
    for make, reverse_path, smtputf8 in _ALL:
        name = make.__name__.strip("_").replace("_", "-")
        if make.__module__ == module and (not only or name in only):
            yield Specimen(name, make(keys), reverse_path, smtputf8)


def a_mail(content: bytes = b"", *, author: str | None = SENDER, extra: bytes = b"") -> bytes:
    """Return a mail with our canary in the subject and whatever else is given."""
    sender = f'From: "{CANARY}" <{author}>\n' if author else ""
    head = crlf(
        f"{sender}To: {ROLE}\nSubject: {CANARY}\nDate: Fri, 20 Nov 2026 12:00:00 +0000\n"
        f"Message-ID: <{os.urandom(8).hex()}@{DOMAIN}>\nMIME-Version: 1.0\n"
    )
    return head + extra + (content or text(WORDS))


def gibberish(size: int) -> bytes:
    """Return octets that no program compresses, the same ones each time."""
    made = b"".join(zlib.crc32(struct.pack("<I", n)).to_bytes(4, "big") for n in range(size // 4))
    return made[:size]

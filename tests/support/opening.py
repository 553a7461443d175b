"""Opening mails in tests, with the real GnuPG and the role key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from secbridge.model.message import Message
from secbridge.openpgp import GnuPG
from secbridge.pipeline.opening import OpeningLimits, open_mail

_LIMITS = OpeningLimits()


class Desk:
    """Opens mails with one ring."""

    def __init__(self, home: Path) -> None:
        self.openpgp = GnuPG(home)

    async def open(self, raw: bytes, limits: OpeningLimits = _LIMITS) -> Message:
        """Return the mail, opened."""
        return await open_mail(raw, self.openpgp, limits)


@asynccontextmanager
async def desk(home: Path) -> AsyncIterator[Desk]:
    """Give a desk and send its threads home afterwards."""
    made = Desk(home)
    try:
        yield made
    finally:
        await made.openpgp.aclose()


def told(message: Message) -> list[str]:
    """Return the layers of a message as short lines, in order."""
    ends = (str(one.reason or ("ok" if one.ok else "not ok")) for one in message.layers)
    return [
        f"{one.kind} {one.form} {one.depth} {end}"
        for one, end in zip(message.layers, ends, strict=True)
    ]


def verdicts(message: Message) -> list[str]:
    """Return the signatures of a message as short lines, in order."""
    return [
        f"{one.verdict} {one.covers} {'sender' if one.signer_is_sender else 'other'}"
        for one in message.signatures
    ]

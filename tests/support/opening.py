"""Opening mails in tests: the real GnuPG with the role key, and mails as strangers' gpg makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from secbridge.model.message import Message
from secbridge.openpgp import GnuPG
from secbridge.pipeline.opening import OpeningLimits, open_mail


class Desk:
    """Opens mails with one ring."""

    def __init__(self, home: Path) -> None:
        self.openpgp = GnuPG(home)

    async def open(self, raw: bytes, **bounds: int) -> Message:
        """Return the mail, opened."""
        return await open_mail(raw, self.openpgp, replace(OpeningLimits(), **bounds))


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
    return [
        f"{layer.kind} {layer.form} {layer.depth} {layer.reason or ('ok' if layer.ok else 'not ok')}"
        for layer in message.layers
    ]


def verdicts(message: Message) -> list[str]:
    """Return the signatures of a message as short lines, in order."""
    return [
        f"{one.verdict} {one.covers} {'sender' if one.signer_is_sender else 'other'}"
        for one in message.signatures
    ]

"""Who holds a large mail while it is opened?  The store: whoever wants its octets reads them."""

from __future__ import annotations

from dataclasses import dataclass

from secbridge.ports import Deliveries, RawMail


@dataclass(frozen=True, slots=True)
class KeptMail:
    """The port ``RawMail``: the mail of one delivery, in no memory until it is read."""

    deliveries: Deliveries
    delivery_id: str

    async def read(self) -> bytes:
        """Return the mail.  Raises as ``Deliveries.content``."""
        return await self.deliveries.content(self.delivery_id)


async def octets_of(raw: bytes | RawMail) -> bytes:
    """Return the octets of a mail, wherever they are."""
    return raw if isinstance(raw, bytes) else await raw.read()

"""What does a stock aiosmtpd do that stores nothing?  The measure for our way of taking mail."""

from __future__ import annotations

import asyncio
from typing import Any

from aiosmtpd.smtp import SMTP


class Forgetful:
    """Takes every mail and keeps none."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name and shape
        """Say that it is taken."""
        return "250 2.0.0 OK"


async def serve() -> None:
    """Listen on a free port of loopback, print it, and serve until killed."""
    loop = asyncio.get_running_loop()
    handler = Forgetful()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="bare.example", loop=loop), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())

"""What is the smallest thing that keeps the promise of a Spool?  This one, until the process ends.

It is what the durable store is, without the disk: it forgets nothing, knows a second hand-over, and
can be told to be busy, full, broken or slow.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from secbridge.model.envelope import Envelope, Target


@dataclass(frozen=True, slots=True)
class Kept:
    """One delivery as it was handed over."""

    id: str
    envelope: Envelope
    content: bytes
    target: Target


class MemorySpool:
    """A Spool in memory.  ``fault`` is raised by everything while it is set.

    ``opened`` lets commits through; clear it and they wait, as they do behind a slow disk.
    """

    def __init__(self, tokens: Sequence[tuple[str, str]] = ()) -> None:
        self.kept: list[Kept] = []
        self.fault: BaseException | None = None
        self.opened = asyncio.Event()
        self.opened.set()
        self.begun = asyncio.Event()
        self._tokens = set(tokens)
        self._ids: dict[tuple[str, bytes], str] = {}

    async def accept(
        self, envelope: Envelope, content: bytes, targets: Sequence[Target]
    ) -> Sequence[str]:
        """Keep a mail for each target and return the ids."""
        self.begun.set()
        await self.opened.wait()
        if self.fault is not None:
            raise self.fault
        return [self._keep(envelope, content, target) for target in targets]

    async def knows_token(self, alias: str, token: str) -> bool:
        """Return whether a case of this alias has this token."""
        if self.fault is not None:
            raise self.fault
        return (alias, token) in self._tokens

    def _keep(self, envelope: Envelope, content: bytes, target: Target) -> str:
        key = (target.alias, hashlib.sha256(content).digest())
        if key not in self._ids:
            self._ids[key] = f"D{len(self.kept) + 1:05d}"
            self.kept.append(Kept(self._ids[key], envelope, content, target))
        return self._ids[key]

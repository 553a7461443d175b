"""Mails that are opened in a process of its own: how tests look at that process, and harm it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from secbridge.model.message import SignatureFact
from secbridge.model.part import OpeningLimits
from secbridge.openpgp import GnuPG
from secbridge.pipeline.opener import ProcessOpener
from secbridge.ports import CannotOpen, Certificate, Decrypted, OpenPGP, Verified


@asynccontextmanager
async def an_opener(openpgp: Any, **given: Any) -> AsyncIterator[ProcessOpener]:
    """Give an opener of one process at a time and end it afterwards."""
    chosen: dict[str, Any] = {
        "limits": OpeningLimits(),
        "processes": 1,
        "max_time": timedelta(seconds=60),
        **given,
    }
    opener = ProcessOpener(openpgp, **chosen)
    try:
        yield opener
    finally:
        await opener.aclose()


class Remembering:
    """The port over a real gpg that is asked everything once: both readings hear the same."""

    def __init__(self, home: Path) -> None:
        self._gpg: OpenPGP = GnuPG(home)
        self._heard: dict[tuple[Any, ...], Any] = {}

    async def decrypt(self, ciphertext: bytes, *, limit: int) -> Decrypted | CannotOpen:
        """Open one message."""
        heard: Decrypted | CannotOpen = await self._once("decrypt", ciphertext, limit=limit)
        return heard

    async def verify_detached(self, signature: bytes, content: bytes) -> tuple[SignatureFact, ...]:
        """Judge a detached signature."""
        heard: tuple[SignatureFact, ...] = await self._once("verify_detached", signature, content)
        return heard

    async def verify_opaque(self, message: bytes, *, limit: int) -> Verified | CannotOpen:
        """Judge a signed message."""
        heard: Verified | CannotOpen = await self._once("verify_opaque", message, limit=limit)
        return heard

    async def import_certificate(self, content: bytes, *, address: str) -> Certificate | None:
        """Offer a certificate."""
        heard: Certificate | None = await self._once("import_certificate", content, address=address)
        return heard

    async def certificate(self, fingerprint: str) -> Certificate | None:
        """Look a certificate up."""
        heard: Certificate | None = await self._once("certificate", fingerprint)
        return heard

    async def _once(self, name: str, *args: Any, **kwargs: Any) -> Any:
        asked = (name, *args, *kwargs.values())
        if asked not in self._heard:
            self._heard[asked] = await getattr(self._gpg, name)(*args, **kwargs)
        return self._heard[asked]

    async def aclose(self) -> None:
        """Send the threads home."""
        await self._gpg.aclose()  # type: ignore[attr-defined] # it is GnuPG


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has made and that still run."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            found += map(int, task.read_text().split())
    return [one for one in found if runs(one)]


def fork_server() -> int:
    """Return the fork server of this process."""
    (pid,) = [one for one in children_of(os.getpid()) if b"opener_child" in command_of(one)]
    return pid


def command_of(pid: int) -> bytes:
    """Return the command line of a process, nothing when it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def runs(pid: int) -> bool:
    """Return whether a process is there and not dead."""
    return _state(pid) not in {"", "Z", "X"}


def freeze(pid: int) -> bool:
    """Stop a process and return whether it stands still; call it until it does.

    A SIGSTOP may be lost on a process whose thread ends at the same time.
    """
    os.kill(pid, signal.SIGSTOP)
    return _state(pid) == "T"


def _state(pid: int) -> str:
    """Return the letter of proc(5) for the state of a process, "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def kill(*pids: int) -> None:
    """Kill processes at once."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

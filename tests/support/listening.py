"""What does a test of the intake need?  A loop whose time it holds, a clock, and a certificate."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest


class HeldLoop(asyncio.SelectorEventLoop):
    """A real loop with real sockets, whose timers ring when the test says that time has passed."""

    _passed = 0.0

    def time(self) -> float:
        """Return the loop's time, with what the test let pass."""
        return super().time() + self._passed

    def let_pass(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self._passed += seconds


class FixedClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        """Return noon on a day in 2026."""
        return datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def run_held(main: Callable[[HeldLoop], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine on a loop whose time the test holds."""
    with asyncio.Runner(loop_factory=HeldLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, HeldLoop)
        runner.run(main(loop))


async def until(condition: Callable[[], object]) -> None:
    """Give the loop its turns until something is so; the test's own time limit is the guard."""
    while not condition():  # noqa: ASYNC110 - anything at all may be waited for, and nothing sleeps
        await asyncio.sleep(0)


def server_context() -> ssl.SSLContext:
    """Return a server's TLS context with a throw-away certificate for localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate())
    return context


def client_context() -> ssl.SSLContext:
    """Return a client's TLS context that trusts the throw-away certificate only."""
    return ssl.create_default_context(cafile=str(_certificate()))


@cache
def _certificate() -> Path:
    """Make a key and a self-signed certificate, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command makes the certificate of this test, and it is not here")
    folder = Path(tempfile.mkdtemp(prefix="sb", dir="/tmp"))
    atexit.register(shutil.rmtree, folder)
    command = (
        f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        f" -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        f" -keyout {folder}/key.pem -out {folder}/certificate.pem"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return both

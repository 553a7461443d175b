"""systemd: what it hears from us, and what we take from it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from secbridge import systemd


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Return the socket at which the manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_the_manager_hears_each_state(manager: socket.socket) -> None:
    """One datagram each: ready with its status, alive, stopping."""
    assert systemd.ready("taking mail") is True
    assert manager.recv(4096) == b"READY=1\nSTATUS=taking mail"
    assert systemd.watchdog() is True
    assert manager.recv(4096) == b"WATCHDOG=1"
    assert systemd.status("busy") is True
    assert manager.recv(4096) == b"STATUS=busy"
    assert systemd.stopping("finishing") is True
    assert manager.recv(4096) == b"STOPPING=1\nSTATUS=finishing"


def test_an_abstract_socket_is_reached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that begins with @ has no file."""
    name = f"secbridge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert systemd.notify("READY=1") is True
        assert listening.recv(4096) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "relative", "/nobody/listens/here"])
def test_without_a_manager_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    """In a container or on a terminal nobody listens, and that is no fault."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert systemd.notify("READY=1") is False


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        ("30000000", "", timedelta(seconds=15)),
        ("30000000", "ours", timedelta(seconds=15)),
        ("30000000", "1", None),
        ("0", "", None),
        ("soon", "", None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, interval: timedelta | None
) -> None:
    """Only this process is meant, and only when a time is set."""
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "ours" else pid)
    assert systemd.watchdog_interval() == interval

"""How do tests run the real daemon?  As an operator does: a configuration, a process, its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import zygote

PATIENCE = 90.0
"""Seconds after which a test says that something did not happen; the machine may be busy."""

Event = dict[str, Any]


def write_config(
    folder: Path,
    *,
    role_home: Path,
    role_key: str,
    relay_port: int,
    intake: str = 'smtp = ["127.0.0.1:0"]\nlmtp = []',
    alias: str = "",
    more: str = "",
) -> Path:
    """Write a configuration for one alias and return its file."""
    state = folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    config = folder / "secbridge.toml"
    config.write_text(
        f"""[daemon]
state_dir = "{state}"
log_format = "json"

[intake]
hostname = "mail.example.org"
{intake}

[openpgp]
home = "{role_home}"

[submission]
host = "127.0.0.1"
port = {relay_port}
retry_first = "1s"
retry_maximum = "2s"

[retry]
first = "1s"
maximum = "2s"

{more}

[[alias]]
address = "security@example.org"
name = "Example Security"
role_keys = ["{role_key}"]
assignees = ["alex"]
{alias}
"""
    )
    return config


@dataclass
class RunningDaemon:
    """The daemon in a process of its own.  ``events`` are the lines of its log so far."""

    config: Path
    argv: Sequence[str] = ("-m", "secbridge", "run")
    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    raw_log: list[str] = field(default_factory=list)
    _told: threading.Condition = field(default_factory=threading.Condition)
    _process: subprocess.Popen[str] | None = None
    _readers: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._end()  # or it would hold its ports against the tests that follow
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process, once started."""
        assert self._process is not None
        return self._process

    def start(self, *, ready: bool = True) -> None:
        """Start it, and wait until it takes mail."""
        self._process = subprocess.Popen(
            [sys.executable, *self.argv, "--config", str(self.config), *self.options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
            env=_environment(**self.environment),
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self._process.stdout, self._process.stderr)
        ]
        for reader in self._readers:
            reader.start()
        if ready:
            self.wait_for("daemon.started")

    def _read(self, stream: Any) -> None:
        for line in stream:
            with self._told:
                self.raw_log.append(line)
                if line.startswith("{"):
                    self.events.append(json.loads(line))
                self._told.notify_all()
        stream.close()
        with self._told:
            self._told.notify_all()

    def wait_for(self, event: str, *, count: int = 1, **facts: Any) -> Event:
        """Wait until the log told an event with these facts ``count`` times; return the last."""

        def found() -> list[Event]:
            return [
                told
                for told in self.events
                if told.get("event") == event and facts.items() <= told.items()
            ]

        def over() -> bool:
            return len(found()) >= count or not any(reader.is_alive() for reader in self._readers)

        with self._told:
            self._told.wait_for(over, timeout=PATIENCE)
            matching = found()
        assert len(matching) >= count, f"no {event} {facts} in the log:\n" + "".join(self.raw_log)
        return matching[count - 1]

    @property
    def port(self) -> int:
        """The TCP port of the first listener."""
        return int(str(self.wait_for("daemon.started")["listeners"][0]).rpartition(":")[2])

    def terminate(self) -> int:
        """Stop in order and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        status = self.process.wait(timeout=PATIENCE)
        for reader in self._readers:
            reader.join(timeout=PATIENCE)
        return status


def _environment(**more: str) -> dict[str, str]:
    """Return ours, in which a process may keep its bytecode: it starts in a third of the time."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, "LC_ALL": "C", **more}


def command(config: Path, *arguments: str, status: int = 0) -> str:
    """Run ``secbridge …`` as an operator types it and return its stdout."""
    ended = zygote.run([*arguments, "--config", str(config)], env=_environment(), patience=PATIENCE)
    assert ended.status == status, ended.err.decode()
    return ended.out.decode()


def lines_of_json(text: str) -> list[Any]:
    """Return the values of a text with one JSON value a line."""
    return [json.loads(line) for line in text.splitlines() if line.strip()]

"""How do tests type a thousand commands without loading the program a thousand times?

A process loads what the commands need, once, and forks for each of them: the fork *is* the command,
with arguments, environment, folder and standard files of its own, up to its exit status.  Run as
``python -m tests.support.zygote FD`` by ``run`` alone; it ends when the tests that started it do.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Ended:
    """What a command wrote, and its exit status; below zero, the signal that ended it."""

    status: int
    out: bytes
    err: bytes


def run(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path = ROOT,
    stdin: bytes = b"",
    patience: float = 60.0,
) -> Ended:
    """Run ``secbridge …`` in a process of its own and return what became of it."""
    with (
        os.fdopen(os.memfd_create("in"), "w+b") as given,
        os.fdopen(os.memfd_create("out"), "w+b") as out,
        os.fdopen(os.memfd_create("err"), "w+b") as err,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line,
    ):
        given.write(stdin)
        given.seek(0)
        line.settimeout(patience)
        line.connect(_zygote(env.get("PYTHONPATH", "")))
        request = json.dumps([list(arguments), dict(env), str(cwd)]).encode()
        socket.send_fds(line, [request], [one.fileno() for one in (given, out, err)])
        status = _status(line)
        return Ended(status, _written(out), _written(err))


def _status(line: socket.socket) -> int:
    """Wait for the end of a command; it is killed when it takes too long."""
    pid = int(line.recv(64))
    try:
        said = line.recv(64)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        raise
    return int(said) if said else -signal.SIGKILL


def _written(file: io.BufferedRandom) -> bytes:
    file.seek(0)
    return file.read()


@cache
def _zygote(path: str) -> str:
    """Return the address of the one that forks, started when it is first wanted.

    There is one for each ``PYTHONPATH``: what was loaded from another place is another program.
    """
    name = f"\0secbridge-zygote-{os.getpid()}-{os.urandom(8).hex()}"
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.bind(name)
    door.listen(64)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.zygote", str(door.fileno())],
        stdin=subprocess.PIPE,
        pass_fds=[door.fileno()],
        env={**os.environ, "PYTHONPATH": path},
        cwd=ROOT,
    )
    door.close()
    atexit.register(_end, process)
    return name


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


# ── The other side ───────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Fork a command for each that calls, until nobody is left who could."""
    door = socket.socket(fileno=int(sys.argv[1]))
    _load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a command here
    while True:
        ready, _, _ = select.select([door.fileno(), 0], [], [])
        if 0 in ready:
            return
        line, _ = door.accept()
        if os.fork() == 0:
            door.close()
            _be(line)
        line.close()


def _load() -> None:
    """Load what commands load when they need it; each of them finds it there."""
    import secbridge.cli
    import secbridge.cli.checks
    import secbridge.cli.rooms
    import secbridge.daemon
    import secbridge.trackers.local  # noqa: F401 - to have it loaded is all


def _be(line: socket.socket) -> NoReturn:
    """Be one command, from its arguments to its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    line.send(str(os.getpid()).encode())
    request, fds, _, _ = socket.recv_fds(line, _LARGEST, 3)
    arguments, env, cwd = json.loads(request)
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    _open_standard_files()
    sys.argv = ["secbridge", *arguments]
    line.send(str(_ended()).encode())
    os._exit(0)


def _open_standard_files() -> None:
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )


def _ended() -> int:
    """Run the command as ``python -m secbridge`` does, and return its exit status."""
    from secbridge.cli import main as command

    status = 0
    try:
        command()
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:  # noqa: BLE001 - what Python itself would print
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    main()

"""How do tests type a hundred commands in a second?  One after the other in one process.

Run as ``python -m tests.support.typist``: each line of standard input is a JSON list of arguments,
each line of standard output what became of it.  The commands are the real ones, up to their exit.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Typed:
    """One command and what it wrote."""

    arguments: tuple[str, ...]
    status: int
    out: str
    err: str


def type_all(commands: Sequence[Sequence[str]], *, patience: float = 300.0) -> list[Typed]:
    """Run all commands (without their program's name) and return what became of each."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.typist"],
        input="".join(json.dumps(list(one)) + "\n" for one in commands),
        capture_output=True,
        text=True,
        check=True,
        timeout=patience,
        cwd=Path(__file__).resolve().parents[2],
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == len(commands), done.stderr
    return [Typed(tuple(one), *what) for one, what in zip(commands, told, strict=True)]


def _type(arguments: list[str]) -> tuple[int, str, str]:
    from secbridge.cli import main

    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    sys.argv = ["secbridge", *arguments]
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as exc:
            status = exc.code if isinstance(exc.code, int) else 1
    out.flush()
    buffer = out.buffer
    assert isinstance(buffer, io.BytesIO)
    return status, buffer.getvalue().decode(), err.getvalue()


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_type(json.loads(line))), flush=True)  # noqa: T201 - its way to answer

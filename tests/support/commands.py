"""How do tests type commands?  As an operator does, in a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import zygote

_PATIENCE = 120.0


@dataclass(frozen=True)
class Done:
    """What a command wrote, and its exit status."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode()

    @property
    def rows(self) -> list[Any]:
        """Standard output as one JSON value a line, and nothing else."""
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def row(self) -> Any:
        """Standard output as the one JSON value that it must be."""
        (row,) = self.rows
        return row


def secbridge(
    *arguments: str | Path,
    config: Path | None = None,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> Done:
    """Run ``secbridge …`` without the variables that a developer may have set."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SECBRIDGE_")}
    chosen = ["--config", str(config)] if config else []
    ended = zygote.run(
        [*map(str, arguments), *chosen],
        stdin=stdin,
        env={**clean, "LC_ALL": "C.UTF-8", **(env or {})},
        patience=_PATIENCE,
    )
    return Done(ended.status, ended.out, ended.err.decode())

"""What do all commands share?  Their options, the tables for people, the lines for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # rich and pydantic load when a command needs them
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from secbridge.settings import Settings

DEFAULT_CONFIG = Path("/etc/secbridge/secbridge.toml")
"""The same as ``settings.DEFAULT_CONFIG``, here without loading the settings."""

_WIDTH_OF_PIPES = 160
"""Columns of tables that nobody looks at on a screen, so that ids are not broken for grep."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The configuration; else $SECBRIDGE_CONFIG, else /etc/secbridge/secbridge.toml.",
        show_default=False,
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


_NEVER_BROKEN = frozenset({"id", "number", "state", "case", "at", "fingerprint"})
"""Columns that people copy from or look along; a broken id is no id."""


def load_for_command(config: Path | None) -> Settings:
    """Return the settings for a command that prints results; its log goes to stderr."""
    from secbridge.settings import load

    log_to_stderr()
    return load(config)


def log_to_stderr() -> None:
    """Send the log of a command that prints results to stderr, from warnings on."""
    from secbridge import logs

    logs.configure("auto", "warning", stream=sys.stderr)


def console() -> Console:
    """Return the console for results: colours on a terminal only, NO_COLOR is honoured."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH_OF_PIPES
    return Console(highlight=False, markup=False, emoji=False, width=width)


def tell(screen: Console, text: str | Text) -> None:
    """Print text: a screen folds its lines between words, a pipe gets each of them whole."""
    screen.print(text, soft_wrap=not sys.stdout.isatty())


def table(*columns: str) -> Table:
    """Return an empty table in our one style."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        whole = column in _NEVER_BROKEN
        made.add_column(column, overflow="fold", no_wrap=whole, min_width=4 if whole else None)
    return made


def facts(rows: Mapping[str, str] | Sequence[tuple[str, str]]) -> Table:
    """Return names and values, one to a line; empty values are left out."""
    from rich.table import Table

    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows.items() if isinstance(rows, Mapping) else rows:
        if value:
            made.add_row(name, value)
    return made


def print_json(value: object) -> None:
    """Print one line of JSON, in ASCII, so that no text of a mail steers a terminal."""
    sys.stdout.write(json.dumps(value, ensure_ascii=True, default=_plain) + "\n")
    sys.stdout.flush()


def write_private(path: Path, content: bytes) -> Path:
    """Write a new file that its owner alone may read; one that is there is never replaced."""
    from secbridge.cli.boundary import CommandFailed

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(content)
    except FileExistsError:
        raise CommandFailed(f"{path} is there already. Name an empty folder.") from None
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be written: {exc.strerror}.") from None
    return path


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value)


def moment(value: datetime | None) -> str:
    """Return a time for people, in UTC, or nothing."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def size(octets: int) -> str:
    """Return a size for people."""
    number = float(octets)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"

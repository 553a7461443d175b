"""What would happen to these mails?  The daemon's own examination, without side effects."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secbridge.cli.boundary import FAILED, warn
from secbridge.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    console,
    load_for_command,
    log_to_stderr,
    print_json,
)

if TYPE_CHECKING:  # the house loads when the command needs it
    from secbridge.cli.examination import Request
    from secbridge.settings import Settings


def inspect(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Mails, one in each file; - is standard input."),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
    gnupghome: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Open with this key ring; it is never written to."),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The passphrase of the keys in that ring."),
    ] = None,
    sender: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="The envelope's reverse-path; else that of Return-Path:."
        ),
    ] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="An envelope recipient; may be given several times."),
    ] = None,
) -> None:
    """Show what would happen to mails: protection, class, route, answer.  Nothing is changed.

    Example: secbridge inspect report.eml --json

    Example: secbridge inspect report.eml --gnupghome ~/keys --recipient security@example.org
    """
    from secbridge.cli.examination import Request

    request = Request(
        settings=_settings(config, gnupghome),
        gnupghome=gnupghome,
        passphrase_file=passphrase_file,
        sender=sender,
        recipients=tuple(recipient or ()),
    )
    whole = asyncio.run(_look_at_all(files, request, as_json=as_json))
    raise typer.Exit(0 if whole else FAILED)


async def _look_at_all(files: list[Path], request: Request, *, as_json: bool) -> bool:
    """Show one file after the other; return whether our own side worked for all of them."""
    from secbridge.cli.examination import open_bench
    from secbridge.cli.inspection import view

    whole = True
    async with open_bench(request) as bench:
        for path in files:
            looked = await bench.look(path)
            if as_json:
                print_json(looked.row)
            else:
                console().print(view(looked.row, looked.message))
            if looked.fault is not None:
                whole = False
                warn(f"{looked.fault.sentence} ({looked.fault.code})")
    return whole


def _settings(config: Path | None, gnupghome: Path | None) -> Settings | None:
    """Return the configuration that was named, or the default one where this user can read it."""
    named = config is not None or "SECBRIDGE_CONFIG" in os.environ
    settings = load_for_command(config) if named or os.access(DEFAULT_CONFIG, os.R_OK) else None
    if settings is None:
        log_to_stderr()
        if gnupghome is None:
            warn("No key ring: name one with --gnupghome or --config, to open what is encrypted.")
    return settings

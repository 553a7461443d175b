"""Would a report get through?  Everything is tried for real, before a reporter tries it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from secbridge.cli.boundary import FAILED
from secbridge.cli.common import (
    ConfigOption,
    JsonOption,
    console,
    load_for_command,
    print_json,
    tell,
)
from secbridge.errors import ConfigError

if TYPE_CHECKING:  # the model loads when the command needs it
    from secbridge.model.issue import Finding

_STYLES = {"ok": "green", "warning": "yellow", "error": "red"}
_MARKS = {"ok": "✓", "warning": "!", "error": "✗"}


def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check configuration, role keys, store, relay and trackers.  Exit status 0 or 2.

    Example: secbridge check --config /etc/secbridge/secbridge.toml
    """
    findings = _findings(config)
    broken = any(finding.severity == "error" for finding in findings)
    if as_json:
        print_json({"ok": not broken, "findings": [_row(finding) for finding in findings]})
    else:
        _print(findings)
    raise typer.Exit(FAILED if broken else 0)


def _findings(config: Path | None) -> Sequence[Finding]:
    """Return what there is to say; a configuration that cannot be used is all there is to say."""
    from secbridge.cli.checks import check_everything, configuration_findings

    try:
        settings = load_for_command(config)
    except ConfigError as exc:
        return configuration_findings(exc)
    return asyncio.run(check_everything(settings))


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "subject": finding.subject,
        "severity": finding.severity.value,
        "text": finding.text,
        "mend": finding.mend or None,
        "setting": finding.setting or None,
    }


def _print(findings: Sequence[Finding]) -> None:
    from rich.text import Text

    screen = console()
    for finding in findings:
        style = _STYLES[finding.severity.value]
        told = f"{finding.subject}: {finding.text}"
        tell(screen, Text.assemble((_MARKS[finding.severity.value], style), f" {told}"))
        if finding.mend:
            tell(screen, Text(f"  Mend: {finding.mend}"))
    broken = sum(finding.severity == "error" for finding in findings)
    doubtful = sum(finding.severity == "warning" for finding in findings)
    counted = f"{_counted(broken, 'error')}, {_counted(doubtful, 'warning')}"
    screen.print(f"{_counted(len(findings), 'finding')}: {counted}.")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

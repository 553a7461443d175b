"""How does an issue leave the embedded tracker?  As JSON for machines or Markdown for people.

``docs/issue-export.schema.json`` describes the JSON.  In Markdown every text stands in a fence, so
that nothing of a report acts in whatever shows it.  Files have neutral names, are written for
their owner alone, and replace no other file.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from secbridge.cli.common import console, moment, print_json, write_private
from secbridge.cli.issue import no_issue, opened_row
from secbridge.cli.rooms import Desk, open_desk
from secbridge.rules.drafting import markdown
from secbridge.rules.drafting.untrusted import visible
from secbridge.settings import Settings
from secbridge.trackers.local import OpenedIssue, open_attachment, open_issue

FORMAT = "secbridge-issue/1"
"""What the JSON says of itself; it changes when a reader would have to."""


@dataclass(frozen=True, slots=True)
class Way:
    """How issues are written: as ``json`` or ``markdown``, into a folder or to standard output.

    ``as_json``: what is printed is for machines, too.
    """

    form: str
    output: Path | None
    as_json: bool = False


async def export(settings: Settings, number: int | None, way: Way) -> None:
    """Write one issue, or all of them (None).  Raises CommandFailed and Deferral."""
    async with open_desk(settings, to_write=False) as desk:
        numbers = [number]
        if number is None:
            numbers = [issue.number for issue in reversed(await desk.issues.list_issues())]
        for wanted in numbers:
            opened = await open_issue(desk.issues, desk.opener, wanted or 0)
            if opened is None:
                raise no_issue(wanted or 0)
            if way.output is None:
                _show(opened, way)
            else:
                await _export(desk, opened, way, way.output)


def _show(opened: OpenedIssue, way: Way) -> None:
    """Write an issue to standard output."""
    text = _written(opened, way.form, folder=None)
    if way.as_json and way.form != "json":
        print_json({"number": opened.issue.number, "markdown": text})
        return
    sys.stdout.write(text)
    sys.stdout.flush()


async def _export(desk: Desk, opened: OpenedIssue, way: Way, output: Path) -> None:
    """Write an issue and its attachments into a folder."""
    name = f"issue-{opened.issue.number}"
    path = output / f"{name}.{'json' if way.form == 'json' else 'md'}"
    await _write(path, _written(opened, way.form, folder=name).encode(), way)
    for attachment in opened.attachments:
        plaintext = await open_attachment(desk.opener, attachment)
        await _write(output / name / Path(attachment.name).name, plaintext.content, way)


async def _write(path: Path, content: bytes, way: Way) -> None:
    await asyncio.to_thread(write_private, path, content)
    if way.as_json:
        print_json({"path": str(path), "size": len(content)})
    else:
        console().print(f"written: {path}")


def _written(opened: OpenedIssue, form: str, *, folder: str | None) -> str:
    """Return an issue in a form; ``folder`` is where its attachments are, if anywhere."""
    if form == "json":
        return json.dumps(as_json(opened, folder), ensure_ascii=True, default=_plain) + "\n"
    return as_markdown(opened, folder)


def as_json(opened: OpenedIssue, folder: str | None) -> dict[str, Any]:
    """Return what stands in the JSON of an issue (``docs/issue-export.schema.json``)."""
    row = opened_row(opened)
    for attachment in row["attachments"]:
        attachment["file"] = f"{folder}/{attachment['name']}" if folder else None
    return {"format": FORMAT, **row}


def as_markdown(opened: OpenedIssue, folder: str | None) -> str:
    """Return an issue as Markdown (CommonMark) in which nothing of a report acts."""
    issue = opened.issue
    rows = [
        ("State", "open" if issue.open else "closed"),
        ("Labels", ", ".join(issue.labels)),
        ("Assigned to", ", ".join(issue.assignees) or "nobody"),
        ("Due", issue.due.isoformat() if issue.due else ""),
        ("Opened", moment(issue.created_at)),
        ("Changed", moment(issue.updated_at)),
    ]
    parts = [
        f"# Issue {issue.number}: {markdown.code(visible(issue.title))}",
        "\n".join(f"- {name}: {markdown.code(visible(value))}" for name, value in rows if value),
        _fenced(opened.text),
    ]
    for one in opened.comments:
        said = one.comment
        author = markdown.code(visible(said.author))
        parts += [f"## {author}, {moment(said.created_at)}", _fenced(one.text)]
    if opened.attachments:
        parts += ["## Attachments", "\n".join(_listed(opened, folder))]
    return "\n\n".join(parts) + "\n"


def _listed(opened: OpenedIssue, folder: str | None) -> list[str]:
    lines = []
    for file in opened.attachments:
        name = Path(file.name).name
        shown = f"[{name}]({folder}/{name})" if folder else markdown.code(name)
        lines.append(f"- {shown}, {markdown.code(visible(file.media_type))}, {file.size} octets")
    return lines


def _fenced(text: str) -> str:
    return markdown.fenced(visible(text.strip("\n")))


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value)

"""How does a team without a tracker see its issues and work on them?  From the command line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secbridge.cli.boundary import CommandFailed
from secbridge.cli.common import (
    ConfigOption,
    JsonOption,
    console,
    facts,
    load_for_command,
    moment,
    print_json,
    size,
    table,
    tell,
    write_private,
)

if TYPE_CHECKING:  # the ports and the store load when a command needs them
    from secbridge.model.issue import IssueChange
    from secbridge.ports import LocalAttachment, LocalIssue
    from secbridge.settings import Settings
    from secbridge.trackers.local import OpenedIssue

app = typer.Typer(
    no_args_is_help=True,
    help="The embedded tracker: issues sealed to the role key, opened only here.",
    epilog="Example: secbridge issue show 1",
)

_DATE = "%Y-%m-%d"

Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="The issue's number.")]


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Closed ones, too.")] = False,
    project: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only those of this project.")
    ] = None,
    assignee: Annotated[
        str | None, typer.Option(metavar="NAME", help='Only those of this person; "" for nobody.')
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Only those with this label.")
    ] = None,
    due: Annotated[
        datetime | None,
        typer.Option(formats=[_DATE], metavar="DATE", help="Only those due until then."),
    ] = None,
    overdue: Annotated[
        bool, typer.Option("--overdue", help="Only open ones past their date.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List issues, newest first.  No key is needed: titles are neutral and texts stay sealed.

    Example: secbridge issue list --assignee alex --overdue
    """
    settings = load_for_command(config)
    wanted = _Wanted(assignee, label, due.date() if due else None, overdue)
    listed = asyncio.run(_list(settings, project, open_only=not everything or overdue))
    found = [issue for issue in listed if wanted.fits(issue)]
    if as_json:
        for issue in found:
            print_json(as_row(issue))
        return
    if not found:
        none = "No issues." if everything else "No open issues; --all shows closed ones."
        console().print("No such issues." if listed else none)
        return
    rows = table("#", "title", "state", "labels", "assigned to", "due", "opened")
    for issue in found:
        rows.add_row(*_cells(issue))
    console().print(rows)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which issues a list shows; None is any."""

    assignee: str | None
    label: str | None
    due: date | None
    overdue: bool

    def fits(self, issue: LocalIssue) -> bool:
        """Whether an issue is wanted."""
        return (
            self._is_theirs(issue)
            and (self.label is None or _folded(self.label) in map(_folded, issue.labels))
            and (self.due is None or (issue.due is not None and issue.due <= self.due))
            and (not self.overdue or is_overdue(issue))
        )

    def _is_theirs(self, issue: LocalIssue) -> bool:
        if self.assignee == "":
            return not issue.assignees
        return self.assignee is None or _folded(self.assignee) in map(_folded, issue.assignees)


def _folded(name: str) -> str:
    return name.removeprefix("@").casefold()


def is_overdue(issue: LocalIssue) -> bool:
    """Whether an issue is open and its date is over (UTC)."""
    return issue.open and issue.due is not None and issue.due < datetime.now(UTC).date()


async def _list(
    settings: Settings, project: str | None, *, open_only: bool
) -> Sequence[LocalIssue]:
    from secbridge.cli.rooms import look_into_store

    async with look_into_store(settings) as store:
        return await store.list_issues(project=project, open_only=open_only)


def _cells(issue: LocalIssue) -> tuple[str, ...]:
    return (
        str(issue.number),
        issue.title,
        _state(issue),
        ", ".join(issue.labels),
        ", ".join(issue.assignees) or "nobody",
        _due(issue),
        moment(issue.created_at),
    )


def _due(issue: LocalIssue) -> str:
    told = issue.due.isoformat() if issue.due else ""
    return f"{told} OVERDUE" if is_overdue(issue) else told


def _state(issue: LocalIssue) -> str:
    return "open" if issue.open else "closed"


def as_row(issue: LocalIssue) -> dict[str, Any]:
    """Return an issue, without its text, as its JSON object; every key is always there."""
    return {
        "number": issue.number,
        "project": issue.project,
        "title": issue.title,
        "state": _state(issue),
        "confidential": issue.confidential,
        "labels": list(issue.labels),
        "assignees": list(issue.assignees),
        "due": issue.due.isoformat() if issue.due else None,
        "overdue": is_overdue(issue),
        "created_at": issue.created_at,
        "updated_at": issue.updated_at,
    }


# ── Show ─────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def show(
    number: Number,
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the attachments, opened, into this folder."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an issue with its report, its comments and the list of its attachments.

    Example: secbridge issue show 1 --save /run/secbridge/issue-1
    """
    settings = load_for_command(config)
    opened, saved = asyncio.run(_open(settings, number, save))
    if as_json:
        print_json(opened_row(opened))
        return
    _print_issue(opened)
    if save is not None and not saved:
        console().print("It has no attachments: nothing was written.")
    for path in saved:
        tell(console(), f"written: {path}")


async def _open(
    settings: Settings, number: int, save: Path | None
) -> tuple[OpenedIssue, list[Path]]:
    from secbridge.cli.rooms import open_desk
    from secbridge.trackers.local import open_issue

    async with open_desk(settings, to_write=False) as desk:
        opened = await open_issue(desk.issues, desk.opener, number)
        if opened is None:
            raise no_issue(number)
        if save is None:
            return opened, []
        return opened, [await _save(desk.opener, one, save) for one in opened.attachments]


async def _save(opener: Any, attachment: LocalAttachment, folder: Path) -> Path:
    """Write one attachment for its owner alone; an existing file is never replaced."""
    from secbridge.trackers.local import open_attachment

    plaintext = await open_attachment(opener, attachment)
    path = folder / Path(attachment.name).name
    return await asyncio.to_thread(write_private, path, plaintext.content)


def no_issue(number: int) -> CommandFailed:
    """Return what to say of an issue that is not there."""
    return CommandFailed(
        f"There is no issue {number} in the embedded tracker. "
        "`secbridge issue list --all` shows all."
    )


def _print_issue(opened: OpenedIssue) -> None:
    from rich.text import Text

    from secbridge.rules.drafting.untrusted import visible

    issue, screen = opened.issue, console()
    secrecy = "confidential" if issue.confidential else "NOT CONFIDENTIAL"
    tell(screen, Text(f"#{issue.number} {issue.title}", style="bold"))
    screen.print(
        facts(
            [
                ("state", f"{_state(issue)}, {secrecy}"),
                ("labels", ", ".join(issue.labels)),
                ("assigned to", ", ".join(issue.assignees) or "nobody"),
                ("due", _due(issue)),
                ("opened", moment(issue.created_at)),
            ]
        )
    )
    screen.print()
    tell(screen, Text(visible(opened.text.strip("\n"))))
    for comment in opened.comments:
        screen.print()
        heading = f"── {comment.comment.author}, {moment(comment.comment.created_at)} "
        screen.print(Text(heading.ljust(60, "─"), style="bold"))
        tell(screen, Text(visible(comment.text.strip("\n"))))
    if opened.attachments:
        screen.print()
    for attachment in opened.attachments:
        told = f"{attachment.name}  {attachment.media_type}  {size(attachment.size)}"
        tell(screen, Text(f"attachment: {told}"))


def opened_row(opened: OpenedIssue) -> dict[str, Any]:
    """Return an issue with its texts as its JSON object."""
    return {
        **as_row(opened.issue),
        "text": opened.text,
        "comments": [
            {
                "id": one.comment.id,
                "author": one.comment.author,
                "created_at": one.comment.created_at,
                "text": one.text,
            }
            for one in opened.comments
        ],
        "attachments": [
            {"name": one.name, "type": one.media_type, "size": one.size}
            for one in opened.attachments
        ],
    }


# ── Export ───────────────────────────────────────────────────────────────────────────────────────


class ExportFormat(StrEnum):
    """How issues are written down."""

    JSON = "json"
    MARKDOWN = "markdown"


@app.command()
def export(
    number: Annotated[
        int | None, typer.Argument(metavar="[NUMBER]", min=1, help="One issue alone.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All issues, closed ones too.")] = False,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="JSON for machines, Markdown for people.")
    ] = ExportFormat.JSON,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a file for each issue, and its attachments."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write issues out, opened, with comments; with --output also the attachments.

    Without --output they go to standard output, one JSON object a line, without attachments.
    With it, what is printed is which files were written (--json: one JSON object for each).
    What is written is no longer sealed: choose a folder that nobody else can read.

    Example: secbridge issue export --all --format markdown --output /run/secbridge/issues
    """
    from secbridge.cli import exporting

    if (number is None) != everything:
        raise CommandFailed("Name the number of an issue, or --all.")
    settings = load_for_command(config)
    way = exporting.Way(form.value, output, as_json=as_json)
    asyncio.run(exporting.export(settings, number, way))


# ── Change ───────────────────────────────────────────────────────────────────────────────────────


@app.command()
def comment(
    number: Number,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="Else it is read from standard input.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a comment for the team, sealed to the role key.  Nothing of it is mailed by itself.

    One whose first line is a command (`sb: help` lists them) is done by the daemon, which answers
    in a comment.

    The text on the command line is seen by others on this machine (ps); standard input is not.

    Example: secbridge issue comment 1 < note.txt
    """
    settings = load_for_command(config)
    words = text if text is not None else sys.stdin.read()
    if not words.strip():
        raise CommandFailed("The comment is empty. Write it on standard input.")
    added = asyncio.run(_comment(settings, number, words))
    if as_json:
        told = {"id": added.id, "author": added.author, "created_at": added.created_at}
        print_json({"number": number, **told})
    else:
        console().print(f"Comment {added.id} added to issue {number}.")


async def _comment(settings: Settings, number: int, text: str) -> Any:
    from secbridge.cli.rooms import open_desk, person
    from secbridge.trackers.local import write_comment

    async with open_desk(settings, to_write=True) as desk:
        issue = await desk.issues.read_issue(number)
        if issue is None:
            raise no_issue(number)
        return await write_comment(
            desk.issues,
            desk.sealer_for(issue.project),
            number,
            author=person(),
            text=text,
            clock=desk.clock,
        )


@app.command()
def label(
    number: Number,
    add: Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Add it.")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Take it away.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add labels to an issue, or take them away.

    Example: secbridge issue label 1 --add confirmed --remove needs-info
    """
    from secbridge.model.issue import IssueChange

    if not add and not remove:
        raise CommandFailed("Name a label with --add or --remove.")
    change = IssueChange(add_labels=tuple(add or ()), remove_labels=tuple(remove or ()))
    _change(config, number, change, as_json=as_json)


@app.command()
def assign(
    number: Number,
    people: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Who has it from now on.")
    ] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Take it from everybody.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give an issue to the people named, and to nobody else.

    Example: secbridge issue assign 1 alex kim
    """
    from secbridge.model.issue import IssueChange

    if bool(people) == nobody:
        raise CommandFailed("Name who shall have it, or --nobody.")
    _change(config, number, IssueChange(assignees=tuple(people or ())), as_json=as_json)


@app.command()
def due(
    number: Number,
    day: Annotated[datetime, typer.Argument(formats=[_DATE], metavar="DATE", help="2026-11-27")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set the date until which an issue is to be done.

    Example: secbridge issue due 1 2026-11-27
    """
    from secbridge.model.issue import IssueChange

    _change(config, number, IssueChange(due=day.date()), as_json=as_json)


@app.command()
def close(number: Number, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Close an issue.

    Example: secbridge issue close 1
    """
    from secbridge.model.issue import IssueChange

    _change(config, number, IssueChange(open=False), as_json=as_json)


@app.command()
def reopen(number: Number, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Open a closed issue again.

    Example: secbridge issue reopen 1
    """
    from secbridge.model.issue import IssueChange

    _change(config, number, IssueChange(open=True), as_json=as_json)


def _change(config: Path | None, number: int, change: IssueChange, *, as_json: bool) -> None:
    settings = load_for_command(config)
    issue = asyncio.run(_changed(settings, number, change))
    if as_json:
        print_json(as_row(issue))
        return
    labels = ", ".join(issue.labels) or "no labels"
    people = ", ".join(issue.assignees) or "nobody"
    told = f"Issue {number} is {_state(issue)}, with {labels}, of {people}"
    console().print(f"{told}, due {issue.due}." if issue.due else f"{told}.")


async def _changed(settings: Settings, number: int, change: IssueChange) -> LocalIssue:
    from secbridge.cli.rooms import now, open_store, person

    async with open_store(settings) as store:
        if await store.read_issue(number) is None:
            raise no_issue(number)
        return await store.change_issue(number, change, now(), by=person())

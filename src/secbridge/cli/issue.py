"""How does a team without a tracker see its issues and work on them?  From the command line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
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

Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="The issue's number.")]


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Closed ones, too.")] = False,
    project: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only those of this project.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List issues, newest first.  No key is needed: titles are neutral and texts stay sealed.

    Example: secbridge issue list --all
    """
    settings = load_for_command(config)
    found = asyncio.run(_list(settings, project, open_only=not everything))
    if as_json:
        for issue in found:
            print_json(as_row(issue))
        return
    if not found:
        console().print("No issues." if everything else "No open issues; --all shows closed ones.")
        return
    rows = table("#", "title", "state", "labels", "assigned to", "due", "opened")
    for issue in found:
        rows.add_row(*_cells(issue))
    console().print(rows)


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
        issue.due.isoformat() if issue.due else "",
        moment(issue.created_at),
    )


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

    Example: secbridge issue show 1 --save /run/user/1000/issue-1
    """
    settings = load_for_command(config)
    opened, saved = asyncio.run(_open(settings, number, save))
    if as_json:
        print_json(_opened_row(opened))
        return
    _print_issue(opened)
    for path in saved:
        console().print(f"written: {path}")


async def _open(
    settings: Settings, number: int, save: Path | None
) -> tuple[OpenedIssue, list[Path]]:
    from secbridge.cli.rooms import open_desk
    from secbridge.trackers.local import open_issue

    async with open_desk(settings, to_write=False) as desk:
        opened = await open_issue(desk.issues, desk.opener, number)
        if opened is None:
            raise _no_issue(number)
        if save is None:
            return opened, []
        return opened, [await _save(desk.opener, one, save) for one in opened.attachments]


async def _save(opener: Any, attachment: LocalAttachment, folder: Path) -> Path:
    """Write one attachment for its owner alone; an existing file is never replaced."""
    from secbridge.trackers.local import open_attachment

    plaintext = await open_attachment(opener, attachment)
    path = folder / Path(attachment.name).name
    return await asyncio.to_thread(_write_private, path, plaintext.content)


def _write_private(path: Path, content: bytes) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(content)
    except FileExistsError:
        raise CommandFailed(f"{path} is there already. Name an empty folder.") from None
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be written: {exc.strerror}.") from None
    return path


def _no_issue(number: int) -> CommandFailed:
    return CommandFailed(
        f"There is no issue {number} in the embedded tracker. "
        "`secbridge issue list --all` shows all."
    )


def _print_issue(opened: OpenedIssue) -> None:
    from rich.text import Text

    from secbridge.rules.drafting.untrusted import visible

    issue, screen = opened.issue, console()
    secrecy = "confidential" if issue.confidential else "NOT CONFIDENTIAL"
    screen.print(Text(f"#{issue.number} {issue.title}", style="bold"))
    screen.print(
        facts(
            [
                ("state", f"{_state(issue)}, {secrecy}"),
                ("labels", ", ".join(issue.labels)),
                ("assigned to", ", ".join(issue.assignees) or "nobody"),
                ("due", issue.due.isoformat() if issue.due else ""),
                ("opened", moment(issue.created_at)),
            ]
        )
    )
    screen.print()
    screen.print(Text(visible(opened.text.strip("\n"))))
    for comment in opened.comments:
        screen.print()
        heading = f"── {comment.comment.author}, {moment(comment.comment.created_at)} "
        screen.print(Text(heading.ljust(60, "─"), style="bold"))
        screen.print(Text(visible(comment.text.strip("\n"))))
    for attachment in opened.attachments:
        told = f"{attachment.name}  {attachment.media_type}  {size(attachment.size)}"
        screen.print(Text(f"attachment: {told}"))


def _opened_row(opened: OpenedIssue) -> dict[str, Any]:
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
    """Add a comment for the team, sealed to the role key.  Nothing of it is mailed.

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
            raise _no_issue(number)
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
    console().print(f"Issue {number} is {_state(issue)}, with {labels}.")


async def _changed(settings: Settings, number: int, change: IssueChange) -> LocalIssue:
    from secbridge.cli.rooms import now, open_store

    async with open_store(settings) as store:
        if await store.read_issue(number) is None:
            raise _no_issue(number)
        return await store.change_issue(number, change, now())

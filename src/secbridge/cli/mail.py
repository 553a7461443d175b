"""What did we send, and did it leave?  Every mail of ours, in a named state; never what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
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

if TYPE_CHECKING:  # the model and the store load when a command needs them
    from secbridge.model.case import Case
    from secbridge.model.delivery import Outgoing
    from secbridge.settings import Settings
    from secbridge.store import Entry, Store

    Row = tuple[Outgoing, Case]

app = typer.Typer(
    no_args_is_help=True,
    help="List the mails that we wrote, and see what became of them.",
    epilog="Example: secbridge mail list --state refused",
)


class StateOption(StrEnum):
    """The states of ``model.delivery.OutgoingState``, here so that help needs no other room."""

    QUEUED = "queued"
    SENT = "sent"
    REFUSED = "refused"
    QUARANTINED = "quarantined"
    OUTDATED = "outdated"


@app.command("list")
def list_(
    state: Annotated[
        StateOption | None, typer.Option(metavar="STATE", help="Only those in this state.")
    ] = None,
    case: Annotated[
        str | None, typer.Option(metavar="CASE", help="Only those of a case, such as SB-2026-0001.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List mails of ours, newest first, each copy for itself.

    Example: secbridge mail list --case SB-2026-0001
    """
    settings = load_for_command(config)
    found = asyncio.run(find(settings, state, case, limit))
    if as_json:
        for row in found:
            print_json(as_row(*row))
        return
    rows = table("id", "case", "kind", "to", "written", "state", "next try", "status")
    for row in found:
        rows.add_row(*_cells(*row))
    if found:
        console().print(rows)
    else:
        console().print("There is no such mail of ours.")


async def find(
    settings: Settings, state: StateOption | None, case_id: str | None, limit: int
) -> Sequence[Row]:
    """Return mails of ours with their cases, newest first.  Raises CommandFailed for no case."""
    from secbridge.cli.rooms import look_into_store
    from secbridge.model.delivery import OutgoingState

    async with look_into_store(settings) as store:
        wanted = None if state is None else OutgoingState(state.value)
        if case_id is None:
            return await _with_cases(store, await store.find_outgoing_by_state(wanted, limit=limit))
        if await store.get_case(case_id) is None:
            raise CommandFailed(f"There is no case {case_id!a}.")
        found = [
            mail for mail in await store.mails_of_case(case_id) if wanted in {None, mail.state}
        ]
        return await _with_cases(store, found[::-1][:limit])


async def _with_cases(store: Store, mails: Sequence[Outgoing]) -> Sequence[Row]:
    """Return each mail with its case; the store sees to it that there is one."""
    known = {
        case_id: await store.get_case(case_id) for case_id in {mail.mail.case_id for mail in mails}
    }
    return [(mail, case) for mail in mails if (case := known[mail.mail.case_id]) is not None]


def _cells(outgoing: Outgoing, case: Case) -> tuple[str, ...]:
    return (
        str(outgoing.id),
        case.id,
        outgoing.mail.kind.value,
        _to(outgoing, case),
        moment(outgoing.queued_at),
        _state(outgoing, case),
        moment(outgoing.wait_until),
        outgoing.last_status or "",
    )


def _to(outgoing: Outgoing, case: Case) -> str:
    """Say who gets a copy, in one word."""
    from secbridge.rules.drafting.troubles import Whom, whom

    named = {Whom.REPORTER: "reporter", Whom.COPY: "alias", Whom.MEMBER: "member"}
    return named[whom(case, outgoing)]


def _state(outgoing: Outgoing, case: Case) -> str:
    """Return the state, and that a mail waits for a person to release its case."""
    return f"{outgoing.state.value} (on hold)" if _waits(outgoing, case) else outgoing.state.value


def _waits(outgoing: Outgoing, case: Case) -> bool:
    from secbridge.model.delivery import OutgoingState

    return case.on_hold and outgoing.state is OutgoingState.QUEUED


@app.command()
def show(
    mail_id: Annotated[int, typer.Argument(metavar="ID", help="The mail's id, as in the list.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what became of one mail of ours: facts, and never what it says.

    Example: secbridge mail show 7
    """
    settings = load_for_command(config)
    outgoing, case, journal = asyncio.run(_one(settings, mail_id))
    if as_json:
        told = [{"at": entry.at, "event": entry.event, **entry.facts} for entry in journal]
        print_json({**as_row(outgoing, case), "journal": told})
        return
    screen = console()
    screen.print(facts(_facts(outgoing, case)))
    if journal:
        steps = table("at", "journal", "facts")
        for entry in journal:
            told_facts = ", ".join(f"{name} {value}" for name, value in entry.facts.items())
            steps.add_row(moment(entry.at), entry.event, told_facts)
        screen.print(steps)


async def _one(settings: Settings, mail_id: int) -> tuple[Outgoing, Case, Sequence[Entry]]:
    from secbridge.cli.rooms import look_into_store

    async with look_into_store(settings) as store:
        outgoing = await store.get_outgoing(mail_id)
        case = await store.get_case(outgoing.mail.case_id) if outgoing else None
        if outgoing is None or case is None:
            raise CommandFailed(
                f"There is no mail of ours {mail_id}. `secbridge mail list` shows all ids."
            )
        journal = await store.journal(case.id)
        return outgoing, case, [one for one in journal if one.facts.get("outgoing") == mail_id]


def _facts(outgoing: Outgoing, case: Case) -> list[tuple[str, str]]:
    from secbridge.rules.drafting import words

    mail = outgoing.mail
    return [
        ("mail", str(outgoing.id)),
        ("state", _state(outgoing, case)),
        ("status", outgoing.last_status or ""),
        ("what it is", words.notice(mail.kind)),
        ("case", case.id),
        ("delivery", outgoing.delivery_id or ""),
        ("step", mail.step),
        ("asked for by", "a machine" if mail.automatic else "a person of the team"),
        ("to", f"{mail.recipient} ({_to(outgoing, case)})"),
        ("encrypted to", " ".join(mail.encrypted_to) or "nobody: it is in clear"),
        ("written", moment(outgoing.queued_at)),
        ("left", moment(outgoing.sent_at)),
        ("not before", moment(outgoing.wait_until)),
        ("told on the issue", moment(outgoing.told_at)),
        ("message id", mail.message_id),
        ("size", size(len(mail.content))),
        ("attempts", str(outgoing.attempts or "")),
        ("deferrals", str(outgoing.deferrals or "")),
    ]


def as_row(outgoing: Outgoing, case: Case) -> dict[str, Any]:
    """Return a mail of ours as its JSON object; every key is always there."""
    mail = outgoing.mail
    return {
        "id": outgoing.id,
        "case": case.id,
        "delivery": outgoing.delivery_id,
        "kind": mail.kind.value,
        "step": mail.step,
        "to": _to(outgoing, case),
        "recipient": mail.recipient,
        "state": outgoing.state.value,
        "on_hold": _waits(outgoing, case),
        "automatic": mail.automatic,
        "queued_at": outgoing.queued_at,
        "sent_at": outgoing.sent_at,
        "told_at": outgoing.told_at,
        "wait_until": outgoing.wait_until,
        "attempts": outgoing.attempts,
        "deferrals": outgoing.deferrals,
        "last_status": outgoing.last_status,
        "message_id": mail.message_id,
        "encrypted_to": list(mail.encrypted_to),
        "size": len(mail.content),
    }

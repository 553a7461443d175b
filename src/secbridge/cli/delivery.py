"""Was anything lost?  Every accepted mail, in a named state, with the ways to move it on."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Sequence
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
    write_private,
)

if TYPE_CHECKING:  # the model and the store load when a command needs them
    from secbridge.model.delivery import Delivery, Outgoing
    from secbridge.settings import Settings
    from secbridge.store import Entry

app = typer.Typer(
    no_args_is_help=True,
    help="List accepted mails, see what became of them, get them raw, try again, release.",
    epilog="Example: secbridge delivery list --state quarantined",
)


class StateOption(StrEnum):
    """The states of ``model.delivery.State``, here so that help needs no other room."""

    RECEIVED = "received"
    OPENED = "opened"
    JUDGED = "judged"
    ROUTED = "routed"
    FILED = "filed"
    COMMENTED = "commented"
    SET_ASIDE = "set-aside"
    ANSWERED = "answered"
    WITHHELD = "answer-withheld"
    HELD = "answer-held"
    DONE = "done"
    DEFERRED = "deferred"
    QUARANTINED = "quarantined"


DeliveryId = Annotated[str, typer.Argument(metavar="ID", help="The delivery's id, as in the list.")]


@app.command("list")
def list_(
    state: Annotated[
        StateOption | None, typer.Option(metavar="STATE", help="Only those in this state.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List deliveries, newest first, with how many there are in each state.

    Example: secbridge delivery list --state set-aside
    """
    settings = load_for_command(config)
    found, counts, unsent = asyncio.run(_find(settings, state, limit))
    if as_json:
        for delivery in found:
            print_json(as_row(delivery))
        return
    show = console()
    rows = table("id", "received", "alias", "state", "class", "case", "size", "why")
    for delivery in found:
        rows.add_row(*_cells(delivery))
    if found:
        show.print(rows)
    told = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    show.print(told or "No mail was accepted yet.")
    if unsent:
        show.print(
            f"Answers that did not go out, of: {', '.join(unsent)}\n"
            "  `secbridge mail list --state refused` and `--state quarantined` say why;\n"
            "  the issue of each says what to do."
        )


async def _find(
    settings: Settings, state: StateOption | None, limit: int
) -> tuple[Sequence[Delivery], dict[str, int], Sequence[str]]:
    """Return the deliveries, how many there are of each state, and those with a lost answer."""
    from secbridge.cli.rooms import look_into_store
    from secbridge.model.delivery import OutgoingState, State

    async with look_into_store(settings) as store:
        wanted = None if state is None else State(state.value)
        found = await store.find(state=wanted, limit=limit)
        counts = await store.counts()
        unsent = [
            mail.delivery_id
            for lost in (OutgoingState.REFUSED, OutgoingState.QUARANTINED)
            for mail in await store.find_outgoing_by_state(lost)
            if mail.delivery_id is not None
        ]
    numbers = {name.value: number for name, number in counts.items()}
    return found, numbers, tuple(dict.fromkeys(unsent))


def _cells(delivery: Delivery) -> tuple[str, ...]:
    verdict = delivery.verdict
    return (
        delivery.id,
        moment(delivery.received_at),
        delivery.alias,
        delivery.state.value,
        verdict.mail_class.value if verdict else "",
        delivery.case_id or "",
        size(delivery.size),
        delivery.why or "",
    )


@app.command()
def show(delivery_id: DeliveryId, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what became of one delivery and of the answers that it caused.

    Example: secbridge delivery show ID
    """
    settings = load_for_command(config)
    delivery, outgoing, journal = asyncio.run(_one(settings, delivery_id))
    if as_json:
        print_json(
            {
                **as_row(delivery),
                "outgoing": [_outgoing_row(mail) for mail in outgoing],
                "journal": [_entry_row(entry) for entry in journal],
            }
        )
        return
    screen = console()
    screen.print(facts(_facts(delivery)))
    if outgoing:
        rows = table("mail", "kind", "step", "state", "attempts", "next try", "relay said")
        for mail in outgoing:
            rows.add_row(*_outgoing_cells(mail))
        screen.print(rows)
    steps = table("at", "journal", "facts")
    for entry in journal:
        told = ", ".join(f"{name} {value}" for name, value in entry.facts.items())
        steps.add_row(moment(entry.at), entry.event, told)
    screen.print(steps)


async def _one(
    settings: Settings, delivery_id: str
) -> tuple[Delivery, Sequence[Outgoing], Sequence[Entry]]:
    from secbridge.cli.rooms import look_into_store

    async with look_into_store(settings) as store:
        delivery = _found(await store.get(delivery_id), delivery_id)
        outgoing = await store.find_outgoing(delivery_id)
        return delivery, outgoing, await store.journal(delivery_id)


def _found(delivery: Delivery | None, delivery_id: str) -> Delivery:
    if delivery is None:
        raise CommandFailed(
            f"There is no delivery {delivery_id!a}. `secbridge delivery list` shows all ids."
        )
    return delivery


def _facts(delivery: Delivery) -> list[tuple[str, str]]:
    row = as_row(delivery)
    route = row["route"]
    refused = row["reply_refused_because"]
    return [
        ("delivery", delivery.id),
        ("state", " ".join(filter(None, [row["state"], row["why"] and f"({row['why']})"]))),
        *_wait(delivery),
        ("goes on from", row["resume"] or ""),
        ("not before", moment(delivery.wait_until)),
        ("received", moment(delivery.received_at)),
        ("recipient", f"{delivery.recipient} (alias {delivery.alias})"),
        ("size", size(delivery.size)),
        ("protection", row["protection"] or ""),
        ("class", row["class"] or ""),
        ("because", ", ".join(row["reasons"])),
        ("automatic answer", "" if row["may_reply"] is None else refused or "yes"),
        ("route", f"{route['tracker']} {route['project']}" if route else ""),
        ("case", delivery.case_id or ""),
        ("deaths", str(delivery.attempts or "")),
        ("deferrals", str(delivery.deferrals or "")),
    ]


def _wait(delivery: Delivery) -> list[tuple[str, str]]:
    """Return why an answer is held, in words, and what unblocks it."""
    from secbridge.model.delivery import State
    from secbridge.rules.drafting import words

    if delivery.state is not State.HELD or delivery.why is None:
        return []
    return [
        ("held, because", words.held(delivery.why)),
        ("what unblocks it", words.unblocks(delivery.why, delivery.case_id or "")),
    ]


def as_row(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery as its JSON object; every key is always there."""
    verdict, route = delivery.verdict, delivery.route
    return {
        "id": delivery.id,
        "state": delivery.state.value,
        "resume": delivery.resume.value if delivery.resume else None,
        "why": delivery.why,
        "wait_until": delivery.wait_until,
        "alias": delivery.alias,
        "recipient": delivery.recipient,
        "received_at": delivery.received_at,
        "size": delivery.size,
        "attempts": delivery.attempts,
        "deferrals": delivery.deferrals,
        "protection": delivery.protection.value if delivery.protection else None,
        "class": verdict.mail_class.value if verdict else None,
        "reasons": list(verdict.reasons) if verdict else [],
        "may_reply": verdict.may_reply if verdict else None,
        "reply_refused_because": verdict.reply_refused_because if verdict else None,
        "route": {"alias": route.alias, "tracker": route.tracker, "project": route.project}
        if route
        else None,
        "case": delivery.case_id,
    }


def _outgoing_row(outgoing: Outgoing) -> dict[str, Any]:
    return {
        "id": outgoing.id,
        "kind": outgoing.mail.kind.value,
        "step": outgoing.mail.step,
        "state": outgoing.state.value,
        "attempts": outgoing.attempts,
        "deferrals": outgoing.deferrals,
        "wait_until": outgoing.wait_until,
        "last_status": outgoing.last_status,
        "message_id": outgoing.mail.message_id,
        "encrypted_to": list(outgoing.mail.encrypted_to),
    }


def _entry_row(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at": entry.at,
        "event": entry.event,
        "facts": dict(entry.facts),
        "hash": entry.hash.hex(),
    }


def _outgoing_cells(outgoing: Outgoing) -> tuple[str, ...]:
    return (
        str(outgoing.id),
        outgoing.mail.kind.value,
        outgoing.mail.step,
        outgoing.state.value,
        str(outgoing.attempts),
        moment(outgoing.wait_until),
        outgoing.last_status or "",
    )


@app.command()
def raw(delivery_id: DeliveryId, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Write the raw mail to standard output, byte for byte as it was accepted.

    Example: secbridge delivery raw ID > report.eml
    """
    settings = load_for_command(config)
    content = asyncio.run(_content(settings, delivery_id))
    if as_json:
        print_json({"id": delivery_id, "content_base64": base64.b64encode(content).decode()})
    elif sys.stdout.isatty():
        from secbridge.rules.drafting.untrusted import visible

        sys.stdout.write(visible(content.decode("utf-8", "replace")))
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


async def _content(settings: Settings, delivery_id: str) -> bytes:
    from secbridge.cli.rooms import look_into_store

    async with look_into_store(settings) as store:
        _found(await store.get(delivery_id), delivery_id)
        return await store.content(delivery_id)


@app.command()
def files(
    delivery_id: DeliveryId,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Made where it is not there.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open the mail and write its attachments into a folder, under the names that the issue uses.

    What came encrypted is decrypted: choose a folder that nobody else can read.

    Example: secbridge delivery files ID /run/secbridge/report
    """
    settings = load_for_command(config)
    written = asyncio.run(_files(settings, delivery_id, folder))
    for path, media_type, octets in written:
        if as_json:
            print_json({"path": str(path), "type": media_type, "size": octets})
        else:
            console().print(f"written: {path}  {media_type}  {size(octets)}")
    if not written and not as_json:
        console().print("The mail has no attachments.")


async def _files(settings: Settings, delivery_id: str, folder: Path) -> list[tuple[Path, str, int]]:
    from secbridge.cli.rooms import look_into_store
    from secbridge.house import build_opener, build_openpgp
    from secbridge.rules.drafting.report import files_of, name_of

    async with look_into_store(settings) as store:
        delivery = _found(await store.get(delivery_id), delivery_id)
        content = await store.content(delivery_id)
        mails = await store.mails_of(delivery.case_id) if delivery.case_id else ()
    openpgp = build_openpgp(settings)
    opener = build_opener(settings, openpgp)
    try:
        message = await opener.open(content)
    finally:
        await opener.aclose()
        await openpgp.aclose()
    is_first = bool(mails) and mails[0].id == delivery.id
    name = name_of(delivery.case_id or "", "" if is_first else delivery.id)
    return [
        (
            await asyncio.to_thread(write_private, folder / file.name, file.content),
            file.media_type,
            len(file.content),
        )
        for file in files_of(name, message)
    ]


@app.command()
def retry(
    delivery_id: DeliveryId, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Let a deferred, held or quarantined delivery be worked on again, now.

    Example: secbridge delivery retry ID
    """
    from secbridge.model.delivery import Retried

    settings = load_for_command(config)
    moved = asyncio.run(_move(settings, delivery_id, Retried(by=_operator())))
    _tell_moved(moved, as_json=as_json, text="will be worked on again by the running daemon")


@app.command()
def release(
    delivery_id: DeliveryId, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Let a mail that was set aside become an issue after all.

    Example: secbridge delivery release ID
    """
    from secbridge.model.delivery import Released

    settings = load_for_command(config)
    moved = asyncio.run(_move(settings, delivery_id, Released(by=_operator())))
    _tell_moved(moved, as_json=as_json, text="will be filed by the running daemon")


async def _move(settings: Settings, delivery_id: str, move: Any) -> Delivery:
    from secbridge.cli.rooms import open_store
    from secbridge.errors import IllegalMove

    async with open_store(settings) as store:
        _found(await store.get(delivery_id), delivery_id)
        try:
            return await store.record(delivery_id, move)
        except IllegalMove as exc:
            raise CommandFailed(
                f"{exc}; `secbridge delivery show {delivery_id}` says what became of it."
            ) from None


def _operator() -> str:
    from secbridge.cli.rooms import person

    return person()


def _tell_moved(delivery: Delivery, *, as_json: bool, text: str) -> None:
    if as_json:
        print_json(as_row(delivery))
    else:
        console().print(f"{delivery.id} {text}.")

"""Whose key is whose, is it any good, and which one answers?  What an operator does with keys."""

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
    load_for_command,
    moment,
    print_json,
)

if TYPE_CHECKING:  # the key ring and the store load when a command needs them
    from secbridge.cli.keychoice import Brought, Forgotten
    from secbridge.cli.keydesk import Examined, Holder, KeyDesk
    from secbridge.model.case import KeyBinding
    from secbridge.settings import Settings

_UNUSABLE = 1
"""The command did what it should, and a key cannot be used."""

app = typer.Typer(
    no_args_is_help=True,
    help="Keys of roles, members and reporters: whose they are, what is wrong with them, which "
    "one answers.",
    epilog="Example: secbridge key show",
)

Fingerprint = Annotated[
    str, typer.Argument(metavar="FPR", help="The full fingerprint, 40 hex digits.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


# ── Show ─────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def show(
    which: Annotated[
        str | None,
        typer.Argument(metavar="[FPR|ADDRESS]", help="Only this key, or those of this address."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List keys with where they came from and what they are good for: roles, members, reporters.

    Keys that wait for the team's word stand below, each with the command that accepts it.

    Example: secbridge key show reporter@example.net
    """
    settings = load_for_command(config)
    holders = asyncio.run(_holders(settings, which))
    if not holders:
        raise CommandFailed("No such key is known here. `secbridge key show` lists all.")
    from secbridge.cli.keytelling import print_holders

    print_holders(holders, as_json=as_json, in_full=which is not None)


async def _holders(settings: Settings, which: str | None) -> Sequence[Holder]:
    from secbridge.cli.keydesk import find_holders, open_key_desk

    async with open_key_desk(settings, to_write=False) as desk:
        return await find_holders(desk, which)


# ── Check ────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def check(
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="[FPR|ADDRESS|FILE]",
            help="A key of the key ring, or a file with one (- is standard input).",
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with a key and what its owner must do.  Exit status 1: it is unusable.

    Without an argument the keys of members and roles are looked at; `secbridge check` tries the
    latter for real.  Nothing is imported.

    Example: secbridge key check reporter.asc
    """
    settings = load_for_command(config)
    examined = asyncio.run(_examined(settings, which))
    from secbridge.cli.keytelling import print_examined

    for whose, one in examined:
        print_examined(one, whose=whose, as_json=as_json)
    if any(one.problems for _, one in examined):
        raise typer.Exit(_UNUSABLE)


async def _examined(settings: Settings, which: str | None) -> Sequence[tuple[str, Examined]]:
    """Return certificates with whose they are, as far as that was asked."""
    from secbridge.cli.keydesk import full_fingerprint, of_file, open_key_desk

    async with open_key_desk(settings, to_write=False) as desk:
        if which is None:
            return await _our_own(desk)
        if full_fingerprint(which) is None and _is_file(which):
            return [("", of_file(one)) for one in desk.inspect_for_its_owner(_read(which))]
        return await _in_ring(desk, which)


async def _our_own(desk: KeyDesk) -> Sequence[tuple[str, Examined]]:
    """Return the keys of roles and members, each once; a person without one is passed over."""
    from secbridge.cli.keydesk import by_fingerprint, members, roles

    found: dict[str, tuple[str, Examined]] = {}
    for holder in (*roles(desk.settings), *members(desk.settings)):
        if holder.fingerprint and holder.fingerprint not in found:
            whose = f"{holder.kind.value} {holder.address}"
            found[holder.fingerprint] = whose, await by_fingerprint(desk, holder.fingerprint)
    return list(found.values())


async def _in_ring(desk: KeyDesk, which: str) -> Sequence[tuple[str, Examined]]:
    from secbridge.cli.keydesk import by_fingerprint, full_fingerprint, of_ring

    if (fingerprint := full_fingerprint(which)) is not None:
        return [("", await by_fingerprint(desk, fingerprint))]
    found = await desk.openpgp.certificates_for(which, strangers=True)
    if not found:
        raise CommandFailed(
            f"{which!a} is neither a full fingerprint, nor a file, nor an address that a key in "
            "the key ring has. `secbridge key show` lists all."
        )
    return [("", await of_ring(desk, certificate)) for certificate in found]


# ── Import ───────────────────────────────────────────────────────────────────────────────────────


@app.command("import")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="The key; - is standard input.")],
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDR", help="Whose it is to be, where it names several addresses."),
    ] = None,
    case: Annotated[
        str | None, typer.Option(metavar="SB-…", help="Answer the reporter of this case with it.")
    ] = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a key, say what was found, and take it by one address: for a member or a reporter.

    With --case it is bound to the case as your own word, and a held answer goes out by itself.
    Exit status 1: it cannot be used.

    Example: secbridge key import reporter.asc --case SB-2026-0001
    """
    settings = load_for_command(config)
    content = _read(file)
    brought = asyncio.run(_bring(settings, content, address, case, yes=yes))
    from secbridge.cli.keydesk import of_file
    from secbridge.cli.keytelling import examined_row, print_examined

    if as_json:
        print_json({**_brought_row(brought), **examined_row(of_file(brought.found))})
    else:
        print_examined(of_file(brought.found), whose=brought.address)
        for line in _brought_lines(brought, settings):
            console().print(line)
    if brought.found.problems:
        raise typer.Exit(_UNUSABLE)


async def _bring(
    settings: Settings, content: bytes, address: str | None, case_id: str | None, *, yes: bool
) -> Brought:
    from secbridge.cli.keychoice import bring
    from secbridge.cli.keydesk import open_key_desk

    async with open_key_desk(settings, to_write=True) as desk:
        ask = _agreed if yes else _ask
        return await bring(desk, content, address=address, case_id=case_id, ask=ask)


def _brought_row(brought: Brought) -> dict[str, Any]:
    return {
        "address": brought.address,
        "kept": brought.kept,
        "member": brought.member,
        "case": brought.bound_to,
        "replaced": brought.replaced if brought.bound_to else None,
        "woken": brought.woken,
    }


def _brought_lines(brought: Brought, settings: Settings) -> list[str]:
    """Say what was done, and what is left to do."""
    if brought.found.problems:
        kept = "It is kept to tell whose signatures are" if brought.kept else "It was not imported"
        return [f"{kept}; nothing is encrypted to it."]
    fingerprint = brought.found.certificate.fingerprint
    lines = ["It is in the key ring."]
    if brought.bound_to is not None:
        instead = f" instead of {brought.replaced}" if brought.replaced else ""
        lines.append(f"{brought.bound_to} answers with it{instead}.")
    if brought.woken:
        lines.append(f"Held answers that the running daemon looks at again: {brought.woken}.")
    if brought.member and fingerprint not in _fingerprints_of(settings, brought.address):
        lines.append(
            f'To use it for {brought.address}, write fingerprint = "{fingerprint}" into the '
            "[[alias.member]] table of that address, and restart."
        )
    return lines


def _fingerprints_of(settings: Settings, address: str) -> set[str]:
    from secbridge.rules.structure import same_address

    people = [person for alias in settings.aliases() for person in alias.members]
    return {person.fingerprint for person in people if same_address(person.address, address)}


# ── Forget and accept ────────────────────────────────────────────────────────────────────────────


@app.command()
def forget(
    fingerprint: Fingerprint,
    yes: YesOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a reporter's key from its cases and out of the key ring.

    The next mail of the reporter may bring another one, which is then trusted on first use.

    Example: secbridge key forget FPR
    """
    settings = load_for_command(config)
    done = asyncio.run(_forget(settings, _fingerprint(fingerprint), yes=yes))
    if as_json:
        print_json(
            {"fingerprint": done.fingerprint, "cases": list(done.cases), "deleted": done.deleted}
        )
        return
    cases = f"taken from {', '.join(done.cases)}" if done.cases else "was bound to no case"
    ring = "deleted from the key ring" if done.deleted else "not in the key ring"
    kept = "kept in the key ring, as it is a member's" if done.member else ring
    console().print(f"{done.fingerprint}: {cases}; {kept}.")


async def _forget(settings: Settings, fingerprint: str, *, yes: bool) -> Forgotten:
    from secbridge.cli.keychoice import forget
    from secbridge.cli.keydesk import open_key_desk

    async with open_key_desk(settings, to_write=True) as desk:
        return await forget(desk, fingerprint, _agreed if yes else _ask)


@app.command()
def accept(
    fingerprint: Fingerprint,
    case: Annotated[str, typer.Option(metavar="SB-…", help="The case for which the key came.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a key that came for a reporter take the place of the bound one; what was held goes out.

    Ask the reporter on another way first, by telephone for instance, whether the key is theirs.
    It is the same as `sb: key accept FPR` in the issue.

    Example: secbridge key accept FPR --case SB-2026-0001
    """
    settings = load_for_command(config)
    binding = asyncio.run(_accept(settings, fingerprint, case))
    if as_json:
        print_json(
            {
                "case": case,
                "address": binding.address,
                "fingerprint": binding.fingerprint,
                "source": binding.source.value,
                "since": binding.bound_at,
                "accepted_by": binding.accepted_by,
            }
        )
        return
    console().print(
        f"{case} answers {binding.address} with {binding.fingerprint} since "
        f"{moment(binding.bound_at)}; what was held goes out by the running daemon."
    )


async def _accept(settings: Settings, fingerprint: str, case_id: str) -> KeyBinding:
    from secbridge.cli.keychoice import accept
    from secbridge.cli.keydesk import open_key_desk

    async with open_key_desk(settings, to_write=True) as desk:
        return await accept(desk, fingerprint, case_id)


# ── What was typed ───────────────────────────────────────────────────────────────────────────────


def _fingerprint(text: str) -> str:
    from secbridge.cli.keydesk import full_fingerprint

    if (found := full_fingerprint(text)) is None:
        raise CommandFailed("Name the key by its full fingerprint, 40 hex digits.")
    return found


def _is_file(which: str) -> bool:
    return which == "-" or Path(which).is_file()


def _read(file: str) -> bytes:
    """Return what a file holds, if it is no larger than a certificate may be."""
    from secbridge.cli.examination import read_mail
    from secbridge.openpgp.certs import MOST_OCTETS
    from secbridge.rules import clinic

    content, error = read_mail(Path(file), most=MOST_OCTETS)
    if error == "too-large":
        raise CommandFailed(
            f"{file} cannot be used: {clinic.PROBLEMS['too-large']} {clinic.MENDS['too-large']}"
        )
    if error is not None:
        raise CommandFailed(f"{file} cannot be read ({error}). Name a file with a public key.")
    return content


def _agreed(question: str) -> None:
    """Take --yes for an answer."""
    del question


def _ask(question: str) -> None:
    """Ask on the terminal; where there is none, nobody can agree."""
    if not sys.stdin.isatty():
        raise CommandFailed(f"{question} Nobody can be asked here; say --yes if so.")
    if not typer.confirm(question, err=True):
        raise CommandFailed("Nothing was changed.")

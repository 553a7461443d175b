"""How is a key told?  To a person in words, with what its owner must do; to a machine as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from secbridge.cli.common import console, facts, moment, print_json, table
from secbridge.cli.keydesk import UNKNOWN, Examined, Holder, Kind
from secbridge.outbound.wording import grouped
from secbridge.ports import Certificate
from secbridge.rules import clinic
from secbridge.rules.drafting import words
from secbridge.rules.drafting.untrusted import single_line

_PROBLEMS = {**clinic.PROBLEMS, UNKNOWN: "it is not in the key ring."}
_MENDS = {**clinic.MENDS, UNKNOWN: "Import it: secbridge key import FILE --address ADDR."}
_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("!", "yellow")}
"""By whether a key can be used; None: it can, and something should be mended."""


# ── Whose keys there are ─────────────────────────────────────────────────────────────────────────


def print_holders(holders: Sequence[Holder], *, as_json: bool, in_full: bool) -> None:
    """Print who holds which key: a table, or all that is known of each."""
    if as_json:
        for holder in holders:
            print_json(holder_row(holder))
        return
    screen = console()
    if in_full:
        for holder in holders:
            screen.print(facts(_facts(holder)))
            screen.print()
    else:
        screen.print(_table([holder for holder in holders if not holder.waiting]))
    for holder in holders:
        if holder.waiting:
            screen.print(_proposal(holder))


def holder_row(holder: Holder) -> dict[str, Any]:
    """Return a holder as its JSON object; every key is always there."""
    found = holder.certificate
    return {
        "kind": holder.kind.value,
        "alias": holder.alias,
        "address": holder.address,
        "name": holder.name or None,
        "fingerprint": holder.fingerprint or None,
        "case": holder.case,
        "source": holder.source.value if holder.source else None,
        "since": holder.since,
        "accepted_by": holder.accepted_by,
        "waiting": holder.waiting,
        "in_ring": found is not None,
        "usable": found is not None and found.problem is None,
        "problem": found.problem if found else None,
        "warnings": list(found.warnings) if found else [],
        "algorithm": found.algorithm if found else None,
        "expires": found.expires if found else None,
        "encryption_subkeys": list(found.encryption_subkeys) if found else [],
    }


def state(holder: Holder) -> str:
    """Say in a few words what a holder's key is good for."""
    found = holder.certificate
    if not holder.fingerprint:
        return "no key"
    if found is None:
        return "not in the key ring"
    if found.problem is not None:
        return f"unusable: {found.problem.replace('-', ' ')}"
    warnings = " and ".join(found.warnings).replace("-", " ")
    return f"usable, but {warnings}" if warnings else "usable"


def _table(holders: Sequence[Holder]) -> RenderableType:
    rows = table("who", "case", "address", "fingerprint", "algorithm", "expires", "use")
    for holder in holders:
        found = holder.certificate
        rows.add_row(
            holder.kind.value,
            holder.case or "",
            single_line(holder.address),
            holder.fingerprint,
            found.algorithm if found else "",
            _day(found),
            state(holder),
        )
    return rows


def _facts(holder: Holder) -> list[tuple[str, str]]:
    found = holder.certificate
    who = f"{holder.kind.value} {single_line(holder.address)}"
    return [
        ("who", f"{who} ({single_line(holder.name)})" if holder.name else who),
        ("alias", holder.alias if holder.kind is not Kind.ROLE else ""),
        ("case", holder.case or ""),
        ("key", grouped(holder.fingerprint) if holder.fingerprint else ""),
        ("state", state(holder)),
        ("came", words.source(holder.source) if holder.source else ""),
        ("proposed" if holder.waiting else "bound", moment(holder.since)),
        ("accepted by", holder.accepted_by or ""),
        ("algorithm", found.algorithm if found else ""),
        ("expires", _day(found) if found else ""),
        ("encrypts with", "\n".join(found.encryption_subkeys) if found else ""),
    ]


def _proposal(holder: Holder) -> RenderableType:
    came = words.source(holder.source) if holder.source else ""
    return Text(
        f"{holder.case}: another key for {single_line(holder.address)} came {came}, and waits for "
        f"the team's word.\n  secbridge key accept {holder.fingerprint} --case {holder.case}"
    )


def _day(found: Certificate | None) -> str:
    if found is None:
        return ""
    return found.expires.strftime("%Y-%m-%d") if found.expires else "never"


# ── What is wrong with a key ─────────────────────────────────────────────────────────────────────


def print_examined(found: Examined, *, whose: str = "", as_json: bool = False) -> None:
    """Print what is wrong with a certificate and what its owner does, line by line."""
    if as_json:
        print_json({"whose": whose or None, **examined_row(found)})
        return
    certificate = found.certificate
    usable = None if found.warnings and not found.problems else not found.problems
    mark, style = _MARKS[usable]
    named = grouped(certificate.fingerprint) if certificate.fingerprint else "no fingerprint"
    screen = console()
    screen.print(Text.assemble((mark, style), f" {whose + ': ' if whose else ''}{named}"))
    screen.print(Text("\n".join(f"  {line}" for line in _lines(found))))


def examined_row(found: Examined) -> dict[str, Any]:
    """Return what the clinic says as a JSON object; every key is always there."""
    certificate = found.certificate
    return {
        "fingerprint": certificate.fingerprint or None,
        "usable": not found.problems,
        "addresses": list(certificate.addresses),
        "user_ids": list(found.user_ids),
        "algorithm": certificate.algorithm or None,
        "expires": certificate.expires,
        "encryption_subkeys": list(certificate.encryption_subkeys),
        "problems": [_defect(code, _PROBLEMS, _MENDS) for code in found.problems],
        "warnings": [_warning(code) for code in found.warnings],
    }


def _lines(found: Examined) -> list[str]:
    certificate = found.certificate
    lines = [f"user ID: {single_line(name)}" for name in found.user_ids]
    if certificate.algorithm:
        lines.append(f"{certificate.algorithm}, expires: {_day(certificate)}")
    for defect in examined_row(found)["problems"]:
        lines += [f"It cannot be used: {defect['text']}", f"Mend: {defect['mend']}"]
    for defect in examined_row(found)["warnings"]:
        lines += [f"It can be used, but {defect['text']}", f"Mend: {defect['mend']}"]
    if not found.problems:
        lines.append(f"Encrypts with {', '.join(certificate.encryption_subkeys)}.")
    return lines


def _warning(code: str) -> dict[str, str]:
    """Return what should be mended; a defect that others refuse a key for is among it."""
    if code in clinic.WARNINGS:
        return _defect(code, clinic.WARNINGS, clinic.WARNING_MENDS)
    return _defect(code, _PROBLEMS, _MENDS)


def _defect(code: str, texts: dict[str, str], mends: dict[str, str]) -> dict[str, str]:
    return {"code": code, "text": texts.get(code, code), "mend": mends.get(code, "")}

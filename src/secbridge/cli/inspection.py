"""How is an examined mail shown?  As the JSON of docs/inspect.schema.json, or for a person."""

from __future__ import annotations

from typing import Any, assert_never

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from secbridge.cli.common import facts, size
from secbridge.model.case import MailClass, Route
from secbridge.model.message import Message, Signature, SignatureVerdict
from secbridge.pipeline.examining import Examined
from secbridge.rules.drafting import words
from secbridge.rules.drafting.untrusted import single_line, visible
from secbridge.rules.threads import Mention, Thread, called

Row = dict[str, Any]
"""One line of ``--json``: every key of the schema, always."""


def nothing(file: str, error: str) -> Row:
    """Return the row of a file that nobody could look into; ``error`` says why."""
    return {
        "file": file,
        "error": error,
        "protection": "none",
        "decryption": {"ok": None, "reason": None},
        "layers": [],
        "signatures": [],
        "subject": "",
        "outer_subject": "",
        "from": [],
        "text": "",
        "outside_encryption": "",
        "attachments": [],
        "class": MailClass.OTHER.value,
        "reasons": ["other.unreadable"],
        "may_reply": False,
        "reply_refused_because": "no-single-author",
        "thread": None,
        "route": None,
    }


def row(file: str, examined: Examined, route: Route | None) -> Row:
    """Return the row of a mail."""
    message, verdict = examined.message, examined.verdict
    return {
        "file": file,
        "error": message.error,
        "protection": message.protection.value,
        "decryption": {"ok": message.decryption.ok, "reason": _value(message.decryption.reason)},
        "layers": [
            {
                "kind": layer.kind.value,
                "form": layer.form.value,
                "depth": layer.depth,
                "ok": layer.ok,
                "fingerprints": list(layer.fingerprints),
            }
            for layer in message.layers
        ],
        "signatures": [
            {
                "verdict": signature.verdict.value,
                "fingerprint": signature.fingerprint,
                "covers": signature.covers.value,
                "signer_is_sender": signature.signer_is_sender,
                "signer_is_known": signature.signer_is_known,
            }
            for signature in message.signatures
        ],
        "subject": message.subject,
        "outer_subject": message.outer_subject,
        "from": list(message.authors),
        "text": message.text,
        "outside_encryption": message.outside_encryption,
        "attachments": [
            {
                "name": attachment.name,
                "type": attachment.media_type,
                "size": attachment.size,
                "encrypted": attachment.encrypted,
                "outside_encryption": attachment.outside_encryption,
            }
            for attachment in message.attachments
        ],
        "class": verdict.mail_class.value,
        "reasons": list(verdict.reasons),
        "may_reply": verdict.may_reply,
        "reply_refused_because": verdict.reply_refused_because,
        "thread": _thread(examined.thread or examined.mention),
        "route": None
        if route is None
        else {"alias": route.alias, "tracker": route.tracker, "project": route.project},
    }


def _thread(tied: Thread | Mention | None) -> Row | None:
    """Return which case a mail is part of, or only claims to continue."""
    match tied:
        case None:
            return None
        case Mention(case_id=case_id, tie=tie):
            return {"case": case_id, "by": tie.value, "participant": None, "member": None}
        case Thread(case_id=case_id, tie=tie, participant=participant, member=member):
            name = called(member) if member else None
            who = participant.value
            return {"case": case_id, "by": tie.value, "participant": who, "member": name}
        case _:
            assert_never(tied)


def _value(code: Any) -> str | None:
    return None if code is None else str(code)


# ── For a person ─────────────────────────────────────────────────────────────────────────────────

_GOOD = "green"
_BAD = "red"
_DOUBTFUL = "yellow"


def view(shown: Row, message: Message | None) -> RenderableType:
    """Return what a person wants to see of a mail, with nothing in it that could act."""
    if message is None:
        return Text.assemble((f"{visible(shown['file'])}  ", "bold"), (shown["error"], _BAD))
    parts: list[RenderableType] = [
        Text(visible(shown["file"]), style="bold"),
        Padding(facts(_rows(shown, message)), (0, 0, 0, 2), expand=False),
    ]
    parts += [_signature(signature) for signature in message.signatures]
    if message.text.strip():
        parts.append(_framed("text", message.text))
    if message.outside_encryption.strip():
        parts.append(_framed("outside the encryption", message.outside_encryption))
    return Group(*parts, Text())


def _rows(shown: Row, message: Message) -> list[tuple[str, str]]:
    answer = "yes" if shown["may_reply"] else f"no: {shown['reply_refused_because']}"
    route = shown["route"]
    return [
        ("error", shown["error"] or ""),
        ("subject", single_line(message.subject)),
        ("outer subject", _if_other(message.outer_subject, message.subject)),
        ("from", ", ".join(single_line(author) for author in message.authors)),
        ("protection", words.protection(message.protection)),
        ("not opened", shown["decryption"]["reason"] or ""),
        ("class", f"{shown['class']}   because: {', '.join(shown['reasons'])}"),
        ("thread", _thread_said(shown["thread"])),
        ("automatic answer", answer),
        ("route", f"{route['alias']} → {route['tracker']} {route['project']}" if route else ""),
        *(("attachment", _attachment(one)) for one in shown["attachments"]),
    ]


def _thread_said(thread: Row | None) -> str:
    """Say in one line how a mail is tied to a case, and who of it wrote."""
    if thread is None:
        return ""
    if thread["participant"] is None:
        return f"claims to continue {thread['case']}, by {thread['by']}: a new case"
    name = f" {single_line(thread['member'])}" if thread["member"] else ""
    return f"{thread['case']}, by {thread['by']}   written by: {thread['participant']}{name}"


def _if_other(outer: str, inner: str) -> str:
    return "" if outer == inner else single_line(outer)


def _attachment(one: Row) -> str:
    where = "encrypted" if one["encrypted"] else ""
    where = "outside the encryption" if one["outside_encryption"] else where
    said = [single_line(one["name"]) or "(no name)", single_line(one["type"]), size(one["size"])]
    return "  ".join(filter(None, [*said, where]))


def _signature(signature: Signature) -> Text:
    good = signature.verdict is SignatureVerdict.GOOD
    style = _DOUBTFUL if good and not signature.signer_is_sender else _GOOD if good else _BAD
    said = f"{words.signature(signature)}  {words.fingerprint(signature.fingerprint)}"
    return Text.assemble(("  signature         ", "bold"), (said.strip(), style))


def _framed(title: str, text: str) -> RenderableType:
    return Padding(Panel(Text(visible(text.strip("\n"))), title=title, title_align="left"), (0, 2))

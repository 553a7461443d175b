"""May a machine answer this mail?  Decided from headers and envelope alone (RFC 3834 section 2).

This is not the question what the mail is: a report that must not be answered by machine is still a
report, and becomes an issue like any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from secbridge.model.case import MailClass
from secbridge.model.message import Message
from secbridge.rules import addresses

HEADER_FIELDS = frozenset(
    {
        "accept-language",
        "authentication-results",
        "auto-submitted",
        "cc",
        "content-language",
        "content-type",
        "list-archive",
        "list-help",
        "list-id",
        "list-owner",
        "list-post",
        "list-subscribe",
        "list-unsubscribe",
        "precedence",
        "to",
        "x-auto-response-suppress",
        "x-autoreply",
        "x-autorespond",
        "x-autoresponder",
        "x-failed-recipients",
        "x-mailman-version",
        "x-secbridge-origin",
    }
)
"""Outer header fields that the rules ask for, apart from the spam marks that the operator names."""

REFUSALS: dict[str, str] = {
    "own-mail": "It is our own mail that came back.",
    "set-aside": "It was set aside as spam and nobody released it.",
    "null-sender": "It has the null reverse-path: it is a delivery report or another automaton's.",
    "auto-submitted": "It says of itself that no person sent it.",
    "list": "It came through a mailing list.",
    "bulk": "It says of itself that it is bulk or junk mail.",
    "suppressed": "Its sender asks for no automatic replies.",
    "no-single-author": "It has no From address, or several, so nobody in particular wrote it.",
    "author-unusable": "Its From address is not one that we can write to.",
    "author-is-alias": "Its From address is one of our own aliases.",
    "mailer-daemon": "A mail system wrote it, as its From address or its reverse-path says.",
    "robot": "Its From address says that nobody reads the answers.",
    "own-domain-robot": "Its From address is a robot of our own domain.",
    "unauthenticated": "Its sender is not proven: your relay says that it fails DMARC.",
    "not-a-new-case": "It belongs to a case that was acknowledged already, or opens none.",
}
"""Every code with its meaning, in the order in which they are tried; the first one counts."""

BY_MACHINE = frozenset(
    {"null-sender", "auto-submitted", "bulk", "mailer-daemon", "robot", "own-domain-robot"}
)
"""Codes that say that no person wrote a mail, as far as its header and envelope tell."""

_LIST_FIELDS = tuple(sorted(name for name in HEADER_FIELDS if name.startswith("list-")))
_AUTO_FIELDS = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-failed-recipients")
_DAEMONS = frozenset({"mailer-daemon", "mailerdaemon", "mail-daemon"})
_MAIL_SYSTEMS = _DAEMONS | {"postmaster", "bounce"}
_ROBOT = re.compile(r"(?:.+[._-])?(?:no|do[._-]?not)[._-]?reply(?:[._-].+)?|nobody")
_OWN_ROBOTS = frozenset(
    {"abuse", "alert", "alertmanager", "alerts", "anacron", "backup", "bot", "ci", "cron",
     "daemon", "git", "github", "gitlab", "grafana", "icinga", "jenkins", "jira", "logcheck",
     "logwatch", "mailman", "monit", "monitoring", "nagios", "notification", "notifications",
     "root", "system", "systemd", "unattended-upgrades", "www-data", "zabbix"}
)  # fmt: skip
_LIST_SENDERS = re.compile(
    r"(?:owner-.+|.+-(?:request|owner|bounces?)|listserv|majordomo)", re.IGNORECASE
)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDR_SPEC = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_NEW_CASES = frozenset({MailClass.REPORT, MailClass.OTHER, MailClass.UNDECRYPTABLE})


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """All that the decision rests on.  ``reverse_path`` "" is the null sender.

    ``awaited``: a mail of the reporter in a thread that was never acknowledged.
    ``unauthenticated``: its sender is not proven, and such mail is not to be answered.
    """

    message: Message
    reverse_path: str
    mail_class: MailClass
    aliases: AbstractSet[str]
    awaited: bool = False
    unauthenticated: bool = False


def reply_refusal(question: Question) -> str | None:
    """Return why no machine may answer, a code of ``REFUSALS``, or None when it may."""
    return next((code for code, applies in _CHECKS if applies(question)), None)


def is_plain_address(address: str) -> bool:
    """Return whether this is an ASCII dot-atom addr-spec within the limits of RFC 5321.

    Nothing else is ever written into a header or an envelope of ours: no quoted local part, no
    address literal, no comment, no control character, and no hyphen at the beginning, which a relay
    that pipes into a command might take for an option.
    """
    local = address.rpartition("@")[0]
    if local.startswith("-"):
        return False
    return len(address) <= 254 and len(local) <= 64 and bool(_ADDR_SPEC.fullmatch(address))


def without_tag(address: str) -> str:
    """Return an address lower-cased and without its ``+tag``."""
    local, _, domain = address.lower().rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def is_alias(address: str, aliases: AbstractSet[str]) -> bool:
    """Return whether an address is one of our aliases, or one that we issue for a case of theirs.

    An alias may itself have a tag; ours stands behind it (``rules.addresses``).
    """
    written = address.lower()
    ours = {_spelled(alias) for alias in aliases}
    names = {written, without_tag(written)}
    local, _, domain = written.rpartition("@")
    if (tag := addresses.parse_tag(local)) is not None:
        names.add(f"{tag.base}@{domain}")
    return not names.isdisjoint(ours)


def is_own_robot(address: str, aliases: AbstractSet[str]) -> bool:
    """Return whether an address is a robot's of a domain of ours.

    The hosts below such a domain are ours as well: ``root@web1.example.org``.
    """
    local, _, domain = without_tag(address).rpartition("@")
    ours = {_spelled(alias).rpartition("@")[2] for alias in aliases}
    return local in _OWN_ROBOTS and any(f".{domain}".endswith(f".{own}") for own in ours)


# ── One function for each code ───────────────────────────────────────────────────────────────────


def _own(question: Question) -> bool:
    return question.mail_class is MailClass.OWN


def _set_aside(question: Question) -> bool:
    return question.mail_class is MailClass.SPAM


def _null_sender(question: Question) -> bool:
    return question.reverse_path in {"", "<>"}


def _auto_submitted(question: Question) -> bool:
    headers = question.message.headers
    submitted = headers.fields.get("auto-submitted", ())
    if any(value.partition(";")[0].strip().lower() != "no" for value in submitted):
        return True
    return any(name in headers.fields for name in _AUTO_FIELDS) or _precedence(
        question, {"auto_reply"}
    )


def _list(question: Question) -> bool:
    fields = question.message.headers.fields
    if any(name in fields for name in _LIST_FIELDS) or "x-mailman-version" in fields:
        return True
    local = question.reverse_path.rpartition("@")[0]
    return _precedence(question, {"list"}) or bool(_LIST_SENDERS.fullmatch(local))


def _bulk(question: Question) -> bool:
    return _precedence(question, {"bulk", "junk"})


def _suppressed(question: Question) -> bool:
    """[MS-OXCMAIL] section 2.1.3.2.20: All and AutoReply speak of us; OOF, DR and RN do not."""
    values = question.message.headers.fields.get("x-auto-response-suppress", ())
    words = {word.strip().lower() for value in values for word in value.split(",")}
    return bool(words & {"all", "autoreply"})


def _no_single_author(question: Question) -> bool:
    return question.message.author is None


def _author_unusable(question: Question) -> bool:
    return not is_plain_address(_author(question))


def _author_is_alias(question: Question) -> bool:
    return is_alias(_author(question), question.aliases)


def _mailer_daemon(question: Question) -> bool:
    local = _author(question).rpartition("@")[0].lower()
    return local in _MAIL_SYSTEMS or question.reverse_path.rpartition("@")[0].lower() in _DAEMONS


def _robot(question: Question) -> bool:
    return bool(_ROBOT.fullmatch(without_tag(_author(question)).rpartition("@")[0]))


def _own_domain_robot(question: Question) -> bool:
    return is_own_robot(_author(question), question.aliases)


def _unauthenticated(question: Question) -> bool:
    return question.unauthenticated


def _not_a_new_case(question: Question) -> bool:
    if question.mail_class is MailClass.FOLLOW_UP:
        return not question.awaited
    return question.mail_class not in _NEW_CASES


def _author(question: Question) -> str:
    return question.message.author or ""


def _spelled(alias: str) -> str:
    """Return an alias as a From address would have it: in lower case, the domain in ASCII."""
    try:
        return addresses.canonical(addresses.parse_mailbox(alias))
    except addresses.BadPath:
        return alias.lower()


def _precedence(question: Question, wanted: AbstractSet[str]) -> bool:
    values = question.message.headers.fields.get("precedence", ())
    return any(value.strip().lower() in wanted for value in values)


_CHECKS: tuple[tuple[str, Callable[[Question], bool]], ...] = (
    ("own-mail", _own),
    ("null-sender", _null_sender),
    ("auto-submitted", _auto_submitted),
    ("list", _list),
    ("bulk", _bulk),
    ("suppressed", _suppressed),
    ("no-single-author", _no_single_author),
    ("author-unusable", _author_unusable),
    ("author-is-alias", _author_is_alias),
    ("mailer-daemon", _mailer_daemon),
    ("robot", _robot),
    ("own-domain-robot", _own_domain_robot),
    ("unauthenticated", _unauthenticated),
    ("set-aside", _set_aside),  # after all that stays true when somebody releases it
    ("not-a-new-case", _not_a_new_case),
)

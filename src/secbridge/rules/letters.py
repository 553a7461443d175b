"""What may stand in a letter of the team, and to whom may one go?

A letter holds words of a person, so nobody can build it again from a template and compare.  What it
may consist of is said here, once: ``pipeline.speaking`` obeys it before a letter is queued, and the
guard asks again before a clear one leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from secbridge.model.alias import Alias, Member
from secbridge.model.case import Case
from secbridge.model.reply import LetterFacts, ReplyKind, ReplyText
from secbridge.rules import commands
from secbridge.rules.leaving import PLACEHOLDERS, Taken, cleaned
from secbridge.rules.loops import is_alias, is_own_robot, is_plain_address
from secbridge.rules.structure import same_address

LONGEST_TEXT = 100_000
"""Characters of what is typed."""

LARGEST_TEXT = 200_000
"""Octets of it in UTF-8, so that the finished mail stays below what the guard reads."""

LONGEST_SUBJECT = 200
"""Characters."""

NEED_TEXT = frozenset({ReplyKind.REPLY, ReplyKind.NEED_INFO, ReplyKind.REJECTION})
"""Letters that say nothing without what was typed."""

NO_REPORTER = "no-reporter"
REPORTER_UNUSABLE = "reporter-unusable"
REFUSED_ROBOT = "refused-robot"
TOO_LONG = "too-long"
NOTHING_LEFT = "nothing-left"
TEXT_UNFIT = "text-unfit"

NOT_SAID: dict[str, str] = {
    NO_REPORTER: "Nobody is known who could be written to.",
    REPORTER_UNUSABLE: "The reporter's address is not one that we can write to.",
    REFUSED_ROBOT: "The reporter's address is one of ours, or that of a mail system.",
    "no-key": "Everything in this thread is encrypted, and no key of the reporter is known.",
    "key-changed": "Another key came for the reporter, and nobody has said yet that it counts.",
    "key-unusable-": "The reporter's key cannot be used.",
    TOO_LONG: "The text is longer than a mail of ours may be.",
    NOTHING_LEFT: "Nothing is left of it, once what may not leave the tracker is taken out.",
    TEXT_UNFIT: "The finished text holds something that may not leave, or no case in its subject.",
}
"""Why nothing was said; behind ``key-unusable-`` stands the code of the certificate's problem."""

NOTHING_SAID = LetterFacts(reason_class=commands.REJECTION_CLASSES[0])
"""The facts with which a text shows its own words alone; a rejection always has a class."""

_LONGEST_NAME = 80
_ONE_LINK = (f"1 {Taken.LINK.value[0]}",)


# ── To whom? ─────────────────────────────────────────────────────────────────────────────────────


def refused_address(address: str | None, aliases: Iterable[str]) -> str | None:
    """Return why no letter goes to an address (a code of ``NOT_SAID``), or None where one may."""
    if not address:
        return NO_REPORTER
    if not is_plain_address(address):
        return REPORTER_UNUSABLE
    ours = frozenset(aliases)
    return REFUSED_ROBOT if is_alias(address, ours) or is_own_robot(address, ours) else None


def member_at(alias: Alias, address: str) -> Member | None:
    """Return who of the roster has this address, or None."""
    found = (member for member in alias.members if same_address(member.address, address))
    return next(found, None)


def is_called(member: Member, name: str) -> bool:
    """Whether a name, or an account in the tracker, is this member's."""
    known = member.name, member.account, name_of(member)
    return bool(name) and name.casefold() in {one.casefold() for one in known}


def called(members: Iterable[Member], account: str, name: str = "") -> str:
    """Return how we call who commands: as the roster does, else by the own name or the account.

    ``account`` tells whose it is; ``name`` only where the roster has no account for a member.  What
    would be the name of a member who it is not, is passed over.
    """
    known = tuple(members)
    for member in known:
        if member.account and _is_account(member.account, account):
            return name_of(member)
    nameless = [member for member in known if not member.account]
    for member in nameless:
        if is_called(member, account) or is_called(member, name):
            return name_of(member)
    own = (one for one in (name, account) if one and not any(is_called(m, one) for m in known))
    return next(own, f"account {account}")


def _is_account(configured: str, account: str) -> bool:
    return configured.removeprefix("@").casefold() == account.removeprefix("@").casefold()


def name_of(member: Member) -> str:
    """Return how a member is called before others."""
    return member.name or member.address.rpartition("@")[0]


# ── With which words? ────────────────────────────────────────────────────────────────────────────


def plain_text(text: str) -> str:
    """Return a text with line ends of one kind, no empty lines around it, and nothing but Unicode.

    What no octets can be made of (a lone surrogate) becomes a question mark.
    """
    lines = text.encode("utf-8", "replace").decode().splitlines()
    return "\n".join(lines).strip("\n")


def one_line(text: str, *, longest: int = _LONGEST_NAME) -> str:
    """Return a name or a number as one printable line: whatever it holds, it begins no other."""
    seen = (char if char.isprintable() else " " for char in text[: 10 * longest])
    return " ".join("".join(seen).split())[:longest].strip()


def claim_facts(case: Case) -> LetterFacts:
    """Return all that the mail to the team says of who handles a case, from the case alone."""
    if case.issue is None:
        return LetterFacts(handler=one_line(case.handler))
    link = case.issue.url or f"secbridge issue show {case.issue.number}"
    return LetterFacts(handler=one_line(case.handler), link=one_line(link, longest=2000))


def is_fit_subject(subject: str, case_id: str) -> bool:
    """Return whether a subject is one printable line that names its case."""
    return subject.isprintable() and len(subject) <= LONGEST_SUBJECT and case_id in subject


def says_nothing(text: str) -> bool:
    """Return whether nothing is left of a cleaned text but what stands for things taken out."""
    for placeholder in PLACEHOLDERS.values():
        text = text.replace(placeholder, "")
    return not text.strip()


def may_leave(url: str, case: Case, *, mark: str = commands.MARK) -> bool:
    """Return whether an address may be told as that of a publication.

    It may be one in our own tracker: an advisory has the same address as draft and when it is
    published, and whoever types it says that it is public.  A file of the tracker is none.
    """
    return cleaned(url, url=_url(case), mark=mark, slash=False).removed in {(), _ONE_LINK}


def is_fit_body(
    kind: ReplyKind,
    body: str,
    case: Case,
    *,
    mark: str = commands.MARK,
    frame: Callable[[], ReplyText],
) -> bool:
    """Return whether cleaning the whole text once more would take nothing out, whoever made it.

    ``frame`` gives the same text with ``NOTHING_SAID`` in it: what the operator's own words hold,
    such as a name with an ``@``, is the operator's decision.  That something was disclosed may be
    told with its address in our tracker (``may_leave``).
    """
    url = _url(case)
    if case.marker in body:
        return False
    removed = set(cleaned(body, url=url, mark=mark, slash=False).removed)
    if kind is ReplyKind.DISCLOSED:
        removed -= set(_ONE_LINK)
    return not removed or removed <= set(
        cleaned(frame().body, url=url, mark=mark, slash=False).removed
    )


def _url(case: Case) -> str:
    return case.issue.url if case.issue else ""

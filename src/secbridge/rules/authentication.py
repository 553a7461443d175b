"""Is the sender of this mail proven?  What our own relay says of it, and nobody else (RFC 8601).

Anybody can write an Authentication-Results field; only those under the relay's own name
(``triage.authserv_id``) are read, and the relay must remove such fields from what comes in (RFC
8601 section 5).  A relay writes above what was there, so the topmost field that speaks of DMARC
counts.  Only a plain ``fail`` says anything: without a field, with ``none`` or with a fault of the
check, a mail is what it was before there was DMARC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from secbridge.model.message import Coverage, Message, SignatureVerdict

FIELD = "authentication-results"

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_WORD = re.compile(r'[^\s"();=/]+')
_BRACKET = re.compile(r"\\.|[()]", re.DOTALL)
_SIGNS = frozenset("=/;")


@dataclass(frozen=True, slots=True)
class AuthenticationResults:
    """One field: who says it (lower-case), and (method, result) in order, both lower-case."""

    authserv_id: str
    results: tuple[tuple[str, str], ...] = ()

    def of(self, method: str) -> frozenset[str]:
        """Return the results of a method; none where the field does not speak of it."""
        return frozenset(result for known, result in self.results if known == method)


def is_unproven(message: Message, authserv_id: str) -> bool:
    """Return whether the relay of this name says that the mail fails DMARC.

    A good signature over the whole mail, by the key that is bound to the reporter, proves more.
    """
    return "fail" in dmarc(message, authserv_id) and not _is_signed_by_the_reporter(message)


def dmarc(message: Message, authserv_id: str) -> frozenset[str]:
    """Return what the relay says of DMARC, in lower case; nothing without a name to believe."""
    if not authserv_id:
        return frozenset()
    for value in message.headers.fields.get(FIELD, ()):
        found = parse(value)
        if found is None or found.authserv_id != authserv_id.lower():
            continue
        if results := found.of("dmarc"):
            return results
    return frozenset()


def _is_signed_by_the_reporter(message: Message) -> bool:
    return any(
        signature.verdict is SignatureVerdict.GOOD
        and signature.covers is Coverage.WHOLE
        and signature.signer_is_known is True
        for signature in message.signatures
    )


# ── The field ────────────────────────────────────────────────────────────────────────────────────


def parse(value: str) -> AuthenticationResults | None:
    """Return what an unfolded Authentication-Results field says (RFC 8601 section 2.2), or None.

    No comment, quoted string or property is taken for a result.  A bracket or quotation mark that
    nobody closes stands for itself: a sender can bring one into the field, with an address say,
    and what comes behind it must not be lost.
    """
    name, *clauses = _clauses(value)
    match name:
        case [author] | [author, _]:  # a version may follow
            results = tuple(filter(None, map(_result, clauses)))
            return AuthenticationResults(author.strip('"').lower(), results)
        case _:
            return None


def _clauses(value: str) -> list[list[str]]:
    """Return the tokens between the semicolons."""
    clauses: list[list[str]] = [[]]
    for piece in _tokens(value):
        if piece == ";":
            clauses.append([])
        else:
            clauses[-1].append(piece)
    return clauses


def _tokens(value: str) -> Iterator[str]:
    """Return words, quoted strings in their quotation marks, and the signs ``=``, ``/``, ``;``."""
    ends, at, may_close = _comments(value), 0, True
    while at < len(value):
        if value[at] in _SIGNS:
            yield value[at]
        elif value[at] == '"' and may_close and (quoted := _QUOTED.match(value, at)):
            yield quoted[0]
            at = quoted.end()
            continue
        elif found := _WORD.match(value, at):
            yield found[0]
            at = found.end()
            continue
        may_close = may_close and value[at] != '"'  # one left open leaves all behind it open
        at = ends.get(at, at + 1)


def _comments(value: str) -> dict[int, int]:
    """Return where each bracket that is closed would end its comment; they nest (RFC 5322)."""
    ends: dict[int, int] = {}
    unclosed: list[int] = []
    for bracket in _BRACKET.finditer(value):
        if bracket[0] == "(":
            unclosed.append(bracket.start())
        elif bracket[0] == ")" and unclosed:
            ends[unclosed.pop()] = bracket.end()
    return ends


def _result(clause: list[str]) -> tuple[str, str] | None:
    """Return method and result of a clause: ``dmarc=fail``, ``dmarc/1=fail``."""
    match clause:
        case [method, "=", result, *_] | [method, "/", _, "=", result, *_]:
            return method.lower(), result.lower()
        case _:
            return None

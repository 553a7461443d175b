"""Whom does an address mean?  Paths of SMTP, and the addresses that we issue ourselves.

We issue two kinds of subaddress of an alias: ``security+sb-TOKEN@`` belongs to a case (it is the
``Reply-To:`` of our answers), and ``security+sb-TOKEN-N@`` is the envelope sender of our mail
number N, so that a bounce names what bounced.  MTAs on the way may change the case of a local part,
so a token is lower-case letters and digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from secbridge.model.envelope import Target

_MARK = "+sb-"
_TAG = re.compile(r"([a-z0-9]{1,64})(?:-([0-9]{1,15}))?")
_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_PLAIN_PATH = re.compile(rf"<([{_ATEXT}.]+)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)>(?: +(.*))?")
_DOT_STRING = re.compile(rf"[{_ATEXT}\u0080-\U0010ffff]+(?:\.[{_ATEXT}\u0080-\U0010ffff]+)*")
_DOMAIN = re.compile(r"[\w-]+(?:\.[\w-]+)*\.?|\[[!-Z^-~]+\]")
_TOKEN = re.compile(
    r"""
      "(?P<quoted>(?:[^"\\\x00-\x1f\x7f]|\\[ -~])*)"
    | (?P<literal>\[[^\[\]\\<>\x00-\x20\x7f]*\])
    | (?P<atom>[^\s"()<>@,:;\\\[\]\x00-\x20\x7f]+)
    | (?P<special>[@,:>(])
    """,
    re.VERBOSE,
)
_CTEXT = r"[^()\\\x00-\x08\x0a-\x1f\x7f]*"
_COMMENT = re.compile(rf"{_CTEXT}(?:\\[ -~]{_CTEXT})*([()])")


class BadPath(ValueError):  # noqa: N818 - it names what it found; the caller answers with a status
    """What stands there is no path of RFC 5321 section 4.1.2; the text of it is not in here."""


@dataclass(frozen=True, slots=True, repr=False)
class Mailbox:
    """A local part without its quotes, and a domain as it was given ("" only without an @)."""

    local: str
    domain: str

    def __str__(self) -> str:
        """Return the addr-spec, quoted where it has to be (RFC 5321 section 4.1.2)."""
        local = self.local
        if not _DOT_STRING.fullmatch(local):
            local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{local}@{self.domain}" if self.domain else local

    def __repr__(self) -> str:
        return "Mailbox(…)"


@dataclass(frozen=True, slots=True)
class Tag:
    """A local part that carries a tag of ours: the alias's own, the token, and N of a bounce."""

    base: str
    token: str
    outgoing: int | None = None


# ── Paths ────────────────────────────────────────────────────────────────────────────────────────


def parse_path(text: str) -> tuple[Mailbox | None, str]:
    """Return the mailbox of a path and the parameters behind it; None is the null path ``<>``.

    ``text`` is what stands behind ``MAIL FROM:`` or ``RCPT TO:`` (RFC 5321 sections 4.1.1.2 and
    4.1.1.3).  Source routes (RFC 5321 appendix C) and comments are dropped, quoted local parts are
    unquoted.  Raises BadPath.
    """
    plain = _PLAIN_PATH.fullmatch(text)
    if plain:
        return Mailbox(plain[1], plain[2]), plain[3] or ""
    return _parse_odd_path(text.strip())


def parse_mailbox(address: str) -> Mailbox:
    """Return the mailbox of an addr-spec such as a configuration holds.  Raises BadPath."""
    mailbox, rest = parse_path(f"<{address}>")
    if mailbox is None or rest or not mailbox.domain:
        raise BadPath
    return mailbox


def _parse_odd_path(text: str) -> tuple[Mailbox | None, str]:
    """Read what the plain pattern does not: quotes, comments, source routes, other alphabets."""
    pieces, end = _pieces(text)
    rest = text[end:]
    if rest and not rest.startswith(" "):
        raise BadPath
    if not pieces:
        return None, rest.strip()
    return _mailbox(_without_route(pieces)), rest.strip()


def _pieces(text: str) -> tuple[list[tuple[str, str]], int]:
    """Return (kind, text) of the tokens between the angle brackets, and where those end."""
    if not text.startswith("<"):
        raise BadPath
    pieces: list[tuple[str, str]] = []
    position = 1
    while token := _TOKEN.match(text, position):
        kind, value = str(token.lastgroup), token[str(token.lastgroup)]
        position = token.end()
        if value == ">" and kind == "special":
            return pieces, position
        if value == "(" and kind == "special":
            position = _after_comment(text, position)
        else:
            pieces.append((kind, value))
    raise BadPath


def _after_comment(text: str, position: int) -> int:
    """Return where the comment ends that began before ``position``; comments nest (RFC 5322)."""
    depth = 1
    while depth:
        step = _COMMENT.match(text, position)
        if step is None:
            raise BadPath
        depth += 1 if step[1] == "(" else -1
        position = step.end()
    return position


def _without_route(pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Drop a source route, ``@relay,@relay:``, as RFC 5321 section 3.6.1 asks."""
    if pieces[0] == ("special", "@"):
        if ("special", ":") not in pieces:
            raise BadPath
        return pieces[pieces.index(("special", ":")) + 1 :]
    return pieces


def _mailbox(pieces: list[tuple[str, str]]) -> Mailbox:
    """Put local part and domain together; exactly one @ stands between them, or none at all."""
    at = next((i for i, piece in enumerate(pieces) if piece == ("special", "@")), len(pieces))
    local, domain = pieces[:at], pieces[at + 1 :]
    if not local or any(kind not in ("atom", "quoted") for kind, _ in local):
        raise BadPath
    if at < len(pieces) and not (len(domain) == 1 and _is_domain(*domain[0])):
        raise BadPath
    return Mailbox(
        "".join(re.sub(r"\\(.)", r"\1", t) if k == "quoted" else t for k, t in local),
        domain[0][1] if domain else "",
    )


def _is_domain(kind: str, text: str) -> bool:
    return kind in ("atom", "literal") and bool(_DOMAIN.fullmatch(text))


# ── Addresses of ours ────────────────────────────────────────────────────────────────────────────


def case_address(alias: str, token: str) -> str:
    """Return the address of a case: ``security+sb-TOKEN@example.org`` (RFC 5233)."""
    mailbox = parse_mailbox(alias)
    return str(Mailbox(f"{mailbox.local}{_MARK}{token}", mailbox.domain))


def bounce_address(alias: str, token: str, number: int) -> str:
    """Return the envelope sender of our mail ``number`` in a case: ``security+sb-TOKEN-7@…``."""
    mailbox = parse_mailbox(alias)
    return str(Mailbox(f"{mailbox.local}{_MARK}{token}-{number}", mailbox.domain))


def parse_tag(local: str) -> Tag | None:
    """Return what a local part says with a tag of ours, or None when it has none."""
    base, mark, tag = local.lower().rpartition(_MARK)
    found = _TAG.fullmatch(tag) if mark and base else None
    if not found:
        return None
    return Tag(base, found[1], int(found[2]) if found[2] else None)


def canonical(mailbox: Mailbox) -> str:
    """Return the form in which we compare addresses of ours: lower case, domain as A-labels."""
    domain = mailbox.domain.lower().removesuffix(".")
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError:
            return str(Mailbox(mailbox.local.lower(), domain))
    return str(Mailbox(mailbox.local.lower(), domain))


class AliasBook:
    """The addresses at which this installation takes mail.

    ``aliases`` are addr-specs as configured; a bad one raises BadPath.  ``postmaster`` is the alias
    that also stands for ``<postmaster>`` and for postmaster at the domain of any alias (RFC 5321
    section 4.5.1).  Without it, ``<postmaster>`` is an alias of that name, or refused.
    """

    def __init__(self, aliases: Iterable[str], postmaster: str | None = None) -> None:
        self._aliases = {canonical(parse_mailbox(alias)): alias.lower() for alias in aliases}
        self._postmasters: dict[str, str] = {}
        for key, alias in self._aliases.items():
            if key.startswith("postmaster@"):
                self._postmasters.setdefault("postmaster", alias)
        if postmaster is not None:
            keys = [
                "postmaster",
                *("postmaster@" + key.rpartition("@")[2] for key in self._aliases),
            ]
            self._postmasters = dict.fromkeys(keys, postmaster.lower())

    def match(self, recipient: Mailbox) -> Target | None:
        """Return whom a recipient stands for, or None.

        A target with a ``token`` counts only once the spool knows that token.
        """
        key = canonical(recipient)
        alias = self._aliases.get(key) or self._postmasters.get(key)
        if alias is not None:
            return Target(str(recipient), alias)
        return self._match_tag(recipient)

    def _match_tag(self, recipient: Mailbox) -> Target | None:
        """Return the alias and the case whose address this may be."""
        tag = parse_tag(recipient.local)
        if tag is None:
            return None
        alias = self._aliases.get(canonical(Mailbox(tag.base, recipient.domain)))
        if alias is None:
            return None
        return Target(str(recipient), alias, tag.token, tag.outgoing)


def combine(targets: Sequence[Target]) -> tuple[list[Target], list[int]]:
    """Return the deliveries that a mail to these recipients asks for, and whose is whose.

    The second list holds, for each recipient, the index of its delivery in the first.  The same
    recipient twice is one delivery; so are an alias and the address of its case, which meet
    whenever a reporter answers to all: there the case is the better target.
    """
    chosen: dict[tuple[str, str | None, int | None], Target] = {}
    for target in targets:
        if target.token is not None:
            chosen.setdefault((target.alias, target.token, target.outgoing), target)
    of_case = {target.alias: target for target in reversed(chosen.values())}
    for target in targets:
        if target.token is None and target.alias not in of_case:
            chosen.setdefault((target.alias, None, None), target)
    deliveries = list(chosen.values())
    owners = [
        chosen.get((target.alias, target.token, target.outgoing)) or of_case[target.alias]
        for target in targets
    ]
    return deliveries, [deliveries.index(owner) for owner in owners]

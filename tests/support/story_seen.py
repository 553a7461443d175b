"""How did the story end?  All issues, comments and mails as one text, and where two texts differ.

What is different in every run has a name in the text instead: addresses of cases, keys, times, ids.
"""

from __future__ import annotations

import difflib
import re
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.support.keys import Ring
from tests.support.relay import Taken
from tests.support.story import Town
from tests.support.story_sites import SeenIssue

SHOWN = (
    "From", "To", "Cc", "Reply-To", "Subject", "In-Reply-To", "References", "Auto-Submitted",
)  # fmt: skip
"""The header fields that matter."""

_TIME = re.compile(
    r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: ?(?:UTC|Z)|[+-]\d\d:?\d\d)?"
)
_DATE = re.compile(r"20\d\d-\d\d-\d\d|\d{1,2} [A-Z][a-z]+ 20\d\d")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DELIVERY = re.compile(r"\bd-[0-9a-z]+-[0-9a-z]+\b")
_PORT = re.compile(r"127\.0\.0\.1:\d+")
_LETTER = re.compile(r"\b(letter|claim)-\d+")
_SENDER = re.compile(r"(?<=\+sb-)(TOKEN-\d+)-\d{4,}")
_SIZE = re.compile(r"[0-9][0-9,.]* (?:octets|kB)")
_UPLOAD = re.compile(r"(?<=/uploads/)[0-9a-f]{32}")
_WIDTH = 92


# ── Names for what differs from run to run ───────────────────────────────────────────────────────


class Names:
    """Gives names to tokens, keys, Message-IDs, times and ids; the same thing has one name."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = {text: name for text, name in known.items() if text}
        for text, name in list(self._known.items()):
            if re.fullmatch(r"[0-9A-F]{40}", text):
                groups = [text[at : at + 4] for at in range(0, 40, 4)]
                self._known[f"{' '.join(groups[:5])}  {' '.join(groups[5:])}"] = name
                self._known[text[-16:]] = name
        found = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, found)) or r"(?!)")
        self._numbers: dict[str, str] = {}

    def plain(self, text: str) -> str:
        """Return a text in which everything has its name."""
        text = self._pattern.sub(lambda found: self._known[found[0]], text)
        text = _SIZE.sub("SIZE", _UPLOAD.sub("SECRET", text))
        text = _SENDER.sub(r"\1-LETTER", _LETTER.sub(self._numbered, text))
        text = _UUID.sub("UUID", _DELIVERY.sub("DELIVERY", text))
        return _PORT.sub("TRACKER", _DATE.sub("DATE", _TIME.sub("TIME", text)))

    def _numbered(self, found: re.Match[str]) -> str:
        """Return a letter's step by its place in the story, in the order in which it is named."""
        count = sum(name.startswith(found[1]) for name in self._numbers.values())
        return self._numbers.setdefault(found[0], f"{found[1]}-{count + 1}")


@dataclass(frozen=True)
class _Row:
    """What the outbox knows of a mail that left."""

    case: str
    step: str
    kind: str


def commands(town: Town) -> set[str]:
    """Return what the team asked for, each thing once."""
    return {name for (name,) in _select(town, "SELECT DISTINCT command FROM tracker_events")}


def _rows(town: Town) -> dict[str, _Row]:
    """Return the outbox by Message-ID."""
    query = "SELECT message_id, case_id, step, kind FROM outgoing ORDER BY id"
    return {row[0]: _Row(*row[1:]) for row in _select(town, query)}


def _select(town: Town, query: str) -> list[Any]:
    """Look into the store by a way that is not the house's."""
    database = town.folder / "state" / "secbridge.sqlite"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def _tokens(town: Town) -> dict[str, str]:
    """Return the token of each case with its name."""
    rows = _select(town, "SELECT id, token FROM cases ORDER BY id")
    return {token: f"TOKEN-{case.rpartition('-')[2].lstrip('0')}" for case, token in rows}


# ── The whole end as a text ──────────────────────────────────────────────────────────────────────


async def the_end(town: Town) -> str:
    """Return how the story of a town ended."""
    rows = _rows(town)
    ids = {message_id: f"<{row.case} {row.step}>" for message_id, row in rows.items()}
    bare = {message_id.strip("<>"): name.strip("<>") for message_id, name in ids.items()}
    names = Names({**town.cast.names(), **_tokens(town), **ids, **bare, **_paths(town)})
    parts = [
        *[line async for line in _arrived(town)],
        *[line for issue in await town.site.issues(town.house) for line in _issue(issue)],
        *_mails(town, rows),
    ]
    return "".join(f"{names.plain(line).rstrip()}\n" for line in parts)


def _paths(town: Town) -> dict[str, str]:
    return {str(town.folder): "FOLDER"}


async def _arrived(town: Town) -> AsyncIterator[str]:
    """Say what became of each mail that came in."""
    yield "═══ Mails that came in ═══"
    yield ""
    for event in town.events:
        if event in town.deliveries:
            delivery = await town.house.store.get(town.deliveries[event])
            assert delivery is not None
            mail_class = delivery.verdict.mail_class if delivery.verdict else "none"
            reasons = ", ".join(delivery.verdict.reasons) if delivery.verdict else ""
            yield f"{event}"
            yield f"    {mail_class}, {delivery.state}, {delivery.case_id}: {reasons}"
            if delivery.why:
                yield f"    {delivery.why}"
    yield ""


def _issue(issue: SeenIssue) -> Iterator[str]:
    state = "open" if issue.open else "closed"
    yield f"═══ Issue {issue.number}: {state}, {'secret' if issue.secret else 'PUBLIC'} ═══"
    yield ""
    yield f"{issue.title}; labels: {_listed(issue.labels)}; assignees: {_listed(issue.assignees)}"
    yield from _quoted(issue.text)
    for author, text in issue.comments:
        yield ""
        yield f"─── {author}"
        yield from _quoted(text)
    yield ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _quoted(text: str) -> Iterator[str]:
    for line in text.replace("\r\n", "\n").rstrip("\n").split("\n"):
        yield f"    {line}"


def _mails(town: Town, rows: Mapping[str, _Row]) -> Iterator[str]:
    """Tell each mail once, in the order of the events that it left in."""
    yield "═══ Mails that left ═══"
    told: dict[tuple[bytes, tuple[str, ...]], tuple[int, Taken]] = {}
    for event, taken in zip(town.left, town.relay.taken, strict=True):
        told.setdefault((taken.content, taken.recipients), (event, taken))
    opened: dict[bytes, Sequence[str]] = {}
    for event, taken in sorted(told.values(), key=lambda one: _order(one, rows)):
        mail = _parsed(taken.content)
        row = rows[str(mail["Message-ID"])]
        yield ""
        yield f"─── {row.kind} ({row.case}) to {', '.join(taken.recipients)}"
        yield f"    after: {town.events[event - 1]}"
        yield f"    from: {taken.reverse_path}"
        if taken.content in opened:
            yield "    the same mail"
        else:
            opened[taken.content] = [f"    {line}" for line in _opened(town, mail, taken.content)]
            yield from opened[taken.content]


def _order(told: tuple[int, Taken], rows: Mapping[str, _Row]) -> tuple[object, ...]:
    event, taken = told
    row = rows[str(_parsed(taken.content)["Message-ID"])]
    return (
        event,
        row.case,
        row.kind,
        taken.recipients != (_parsed(taken.content)["To"],),
        (taken.recipients),
    )


def _opened(town: Town, mail: EmailMessage, raw: bytes) -> Iterator[str]:
    """Say what a mail says, to whom it is encrypted, and whether it is signed."""
    inside, seal = mail, "in clear"
    if mail.get_content_type() == "multipart/encrypted":
        armor = raw[raw.index(b"-----BEGIN PGP MESSAGE") :]
        content, recipients, signed = _decrypted(town, armor)
        inside, seal = _parsed(content), f"encrypted to {recipients}, {signed}"
    elif mail.get_content_type() == "multipart/signed":
        seal = "in clear, signed"
    yield seal
    yield from (f"{name}: {_field(mail, name)}" for name in SHOWN if mail[name] is not None)
    if inside is not mail:
        yield f"inside: Subject: {_field(inside, 'Subject')}"
    yield ""
    yield from _quoted(_text(inside))


def _field(mail: EmailMessage, name: str) -> str:
    return " ".join(str(mail[name]).split())


def _text(mail: EmailMessage) -> str:
    for part in mail.walk():
        if part.get_content_type() == "text/plain":
            assert isinstance(part, EmailMessage)
            return str(part.get_content())
    return "(no text)"


def _parsed(raw: bytes) -> EmailMessage:
    parsed = message_from_bytes(raw, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def _decrypted(town: Town, armor: bytes) -> tuple[bytes, str, str]:
    """Open a mail as its reader does: the content, for whom it is, and whose signature it has."""
    names = town.cast.names()
    ids = {fingerprint[-16:]: name for fingerprint, name in names.items()}
    for ring in town.cast.rings:
        content, status = _gpg(ring, armor)
        if content:
            to = sorted(ids.get(key, f"SOMEBODY {key}") for key in _values(status, "ENC_TO"))
            by = [names.get(key, "SOMEBODY") for key in _values(status, "VALIDSIG")]
            return content, ", ".join(to), f"signed by {', '.join(by) or 'NOBODY'}"
    raise AssertionError("nobody can read what was sent")


def _gpg(ring: Ring, armor: bytes) -> tuple[bytes, str]:
    with tempfile.NamedTemporaryFile(prefix="sbs", dir="/tmp") as status:
        content = ring.gpg("--status-file", status.name, "--decrypt", stdin=armor, ok=(0, 2))
        return content, Path(status.name).read_text()


def _values(status: str, keyword: str) -> list[str]:
    lines = [line.split() for line in status.splitlines()]
    return [line[2] for line in lines if line[1:2] == [keyword]]


# ── What is found where it must not be ───────────────────────────────────────────────────────────


def leaks(town: Town, *words: str) -> list[str]:
    """Return where a word of an encrypted thread stands in clear: mails, log, files."""
    found = [
        f"mail {number}: {word}"
        for number, taken in enumerate(town.relay.taken)
        for word in words
        if word.encode() in taken.content
    ]
    found += [f"log: {word}" for word in words if word in repr(town.logs)]
    files = [file for file in town.folder.rglob("*") if file.is_file()]
    return found + [
        f"file {file.name}: {word}"
        for file in files
        for word in words
        if word.encode() in file.read_bytes()
    ]


# ── Where two ends differ ────────────────────────────────────────────────────────────────────────


def side_by_side(expected: str, actual: str) -> str:
    """Return the places where two texts differ, what was expected on the left."""
    left, right = expected.splitlines(), actual.splitlines()
    lines: list[str] = [f"{'EXPECTED':{_WIDTH}} │ HAPPENED"]
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for group in matcher.get_grouped_opcodes(2):
        lines.append("┄" * (2 * _WIDTH))
        for tag, a, b, c, d in group:
            old, new = left[a:b], right[c:d]
            for number in range(max(len(old), len(new))):
                one = old[number] if number < len(old) else ""
                two = new[number] if number < len(new) else ""
                mark = " " if tag == "equal" else "≠"
                lines.append(f"{one[:_WIDTH]:{_WIDTH}} {mark} {two}")
    return "\n".join(lines)

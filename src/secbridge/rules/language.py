"""Which language does a reporter read?  What the mail's own header says, and never a guess.

The text of a report says little: most are written in English by people who would rather be answered
otherwise, or are a log of a machine.  So only the two fields count that mail programs set for this.
A tag is kept as its language and, where there is one, its region; script and variants choose no
text of ours.
"""

from __future__ import annotations

import re

from secbridge.model.message import Message

LONGEST = 35
"""Characters of the longest tag that is kept (RFC 5646 section 4.4.1)."""

MOST_TAGS = 50
"""Members of a list that are looked at."""

_COMMENT = re.compile(r"\([^()]*\)")
_TAG = re.compile(
    r"(?P<language>[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})"
    r"(?:-[a-z]{4})?"
    r"(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"
    r"(?:-[a-wyz0-9](?:-[a-z0-9]{2,8})+)*"
    r"(?:-x(?:-[a-z0-9]{1,8})+)?"
)
"""``langtag`` of RFC 5646 section 2.1, in lower case."""

_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_NO_LANGUAGE = frozenset({"mis", "mul", "und", "zxx"})
"""Tags that name none: uncoded, several (RFC 8255), not determined, no linguistic content."""


def language_of(message: Message) -> str:
    """Return the reporter's language, a lower-case tag such as ``de`` or ``pt-br``, or "".

    What the mail is written in (Content-Language) counts before what its author would like to read
    (Accept-Language; both RFC 3282).  Of an encrypted mail the outer header is asked.
    """
    fields = message.headers.fields
    written = _tags(fields.get("content-language", ()))
    wanted = _preferred(fields.get("accept-language", ()))
    return next((tag for tag in (*written, *wanted) if tag), "")


def normal_tag(text: str) -> str:
    """Return a well-formed tag of RFC 5646 as language and region in lower case, else ""."""
    found = _TAG.fullmatch(text.strip().lower()) if len(text) <= 2 * LONGEST else None
    if found is None:
        return ""
    language = found["language"].partition("-")[0]
    if language in _NO_LANGUAGE or len(language) > 3:
        return ""
    return f"{language}-{found['region']}" if found["region"] else language


def ways_to_say(tag: str) -> tuple[str, ...]:
    """Return under which tags a text is looked for, the best first: ``pt-br``, then ``pt``."""
    primary = tag.partition("-")[0]
    return tuple(dict.fromkeys(name for name in (tag, primary) if name))


def _tags(values: tuple[str, ...]) -> list[str]:
    return [normal_tag(member) for member in _members(values)]


def _preferred(values: tuple[str, ...]) -> list[str]:
    """Return the ranges, the most wanted first and equals as they stand; those with q=0 are out."""
    weighted = []
    for member in _members(values):
        name, _, parameter = member.partition(";")
        quality = _quality(parameter)
        if quality > 0:
            weighted.append((-quality, normal_tag(name)))
    return [tag for _, tag in sorted(weighted, key=lambda one: one[0])]


def _quality(parameter: str) -> float:
    """Return the weight of a range: 1 without one, 0 for one that cannot be read."""
    text = "".join(parameter.split()).lower()
    if not text:
        return 1.0
    found = _QUALITY.fullmatch(text)
    return float(found[1]) if found else 0.0


def _members(values: tuple[str, ...]) -> list[str]:
    listed = _COMMENT.sub(" ", ",".join(values)).split(",")
    return [member.strip() for member in listed[:MOST_TAGS] if member.strip()]

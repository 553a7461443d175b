"""What did the sender hide of the header?  Protected headers, read (RFC 9788, and draft v1).

The subject that was encrypted or signed with the mail is the real one; the outer one is what the
way saw.  Only the root of what a layer protects can have them (RFC 9788 section 2.1.1).
"""

from __future__ import annotations

import re

from secbridge.mail.headers import split_header, unstructured
from secbridge.model.part import OpeningLimits, Part

_FIELD = re.compile(r"([A-Za-z][A-Za-z-]{0,40}):[ \t]*(.*)")
_SHOWN = frozenset(
    {"subject", "from", "to", "cc", "date", "reply-to", "followup-to", "keywords", "comments"}
)
_LEGACY_DIV = re.compile(
    r"<div class=[\"']?header-protection-legacy-display[\"']?>.*?</div>", re.DOTALL | re.IGNORECASE
)


def has_protected_headers(part: Part) -> bool:
    """Whether a part says that its own header is the protected one."""
    hp = part.params.get("hp", "").lower()
    return hp in {"cipher", "clear"} or part.params.get("protected-headers", "").lower() == "v1"


def protected_subject(data: bytes, part: Part, limits: OpeningLimits) -> str | None:
    """Return the subject that stands in the header of a protected payload, or None."""
    return subject_of(data, part, limits) if has_protected_headers(part) else None


def subject_of(data: bytes, part: Part, limits: OpeningLimits) -> str | None:
    """Return the subject in the header of a payload, or None.

    Programs before draft v1 (Memory Hole) encrypt it with the mail and set no parameter.
    """
    block = split_header(data, part.start, part.body, most=limits.max_header)
    values = block.all("subject")
    return unstructured(values[0]) if values else None


def without_legacy_display(part: Part, text: str, subject: str | None) -> str:
    """Return the text without the copy of the header that old mail programs were to show.

    Only a copy is dropped: lines of fields that everybody shows, up to an empty line, with the
    very subject that we read from inside (RFC 9788 section 4.10, draft v1 section 3.3).
    """
    if subject is None or not _is_legacy_display(part):
        return text
    if part.media_type == "text/html":
        return _LEGACY_DIV.sub("", text, count=1)
    shown, _, rest = text.lstrip("\n").partition("\n\n")
    return rest if _repeats(shown, subject) else text


def is_legacy_part(part: Part) -> bool:
    """Whether a whole part is such a copy (draft v1: ``text/rfc822-headers``)."""
    return (
        part.media_type == "text/rfc822-headers"
        and part.params.get("protected-headers", "").lower() == "v1"
    )


def repeats_header(text: str, subject: str | None) -> bool:
    """Whether a text is nothing but the header fields that we have read already."""
    return subject is not None and _repeats(text.strip("\n"), subject)


def _is_legacy_display(part: Part) -> bool:
    draft = part.params.get("protected-headers", "").lower() == "v1"
    return part.params.get("hp-legacy-display") == "1" or draft


def _repeats(shown: str, subject: str) -> bool:
    last = ""
    values: dict[str, str] = {}
    for line in shown.split("\n"):
        if line[:1] in {" ", "\t"} and last:
            values[last] += " " + line.strip()
            continue
        field = _FIELD.fullmatch(line.rstrip())
        if field is None or field[1].lower() not in _SHOWN:
            return False
        last = field[1].lower()
        values[last] = field[2]
    return "subject" in values and _squeezed(values["subject"]) == _squeezed(subject)


def _squeezed(text: str) -> str:
    return " ".join(text.split())

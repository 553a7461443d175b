"""Where does each part of a mail lie?  Raw byte ranges, because signatures cover raw bytes.

Nothing is copied and nothing is folded anew: ``data[part.start:part.end]`` is what was signed
(RFC 3156 section 5).  The slicer never raises, costs linear time for each level, and stops at its
bounds; what it did not look at is marked ``unread`` and never silently left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from secbridge.mail.headers import HeaderBlock, decode_words, media_type, split_header
from secbridge.model.part import OpeningLimits, Part

_GUESSED = re.compile(rb"--([^\s].{2,198}?)[ \t]*\r?\n")
_IDENTITY = frozenset({"", "7bit", "8bit", "binary"})


_MOST_LOOKALIKES = 20_000


class Budget:
    """How much may still be cut; shared by all layers of one mail.

    ``lookalikes_left``: lines that begin as a boundary does and are none.
    """

    def __init__(self, limits: OpeningLimits) -> None:
        self.limits = limits
        self.parts_left = limits.max_parts
        self.lookalikes_left = _MOST_LOOKALIKES

    @property
    def spent(self) -> bool:
        """Whether nothing more may be cut."""
        return self.parts_left <= 0 or self.lookalikes_left <= 0


def slice_entity(
    data: bytes,
    budget: Budget,
    *,
    start: int = 0,
    end: int | None = None,
    depth: int = 0,
    header: HeaderBlock | None = None,
) -> Part:
    """Return the tree of the MIME entity in ``data[start:end]``.

    ``depth`` is how deep it lies already.  ``header`` spares splitting it again.
    """
    end = len(data) if end is None else end
    if header is None:
        header = split_header(data, start, end, most=budget.limits.max_header)
    return _entity(data, budget, header, start, end, depth, "text/plain")


def _entity(
    data: bytes,
    budget: Budget,
    header: HeaderBlock,
    start: int,
    end: int,
    depth: int,
    default: str,
) -> Part:
    kind, params = media_type(header.first("content-type"), default)
    place, place_params = _disposition(header)
    encoding = header.first("content-transfer-encoding").partition(";")[0].strip().lower()
    name = place_params.get("filename") or params.get("name") or ""
    children: tuple[Part, ...] = ()
    formless = False
    unread = header.cut and not header.all("content-type")
    if kind.startswith("multipart/") or (
        kind in {"message/rfc822", "message/global"} and encoding in _IDENTITY
    ):
        if depth >= budget.limits.max_depth or budget.spent:
            unread = True
        elif kind.startswith("multipart/"):
            ranges = _ranges(data, budget, header.body, end, params.get("boundary", ""))
            children, rest = _cut(data, budget, ranges, depth + 1, kind)
            if len(header.all("content-type")) > 1:
                children = (*_preamble(data, header.body, children), *children)
            formless = not children
            unread = unread or rest
        else:
            children = (_child(data, budget, header.body, end, depth + 1, "text/plain"),)
    return Part(
        start=start,
        body=header.body,
        end=end,
        media_type=kind,
        params=params,
        disposition=place,
        name=_neutral(name),
        encoding=encoding,
        children=children,
        unread=unread,
        formless=formless,
    )


def _child(data: bytes, budget: Budget, start: int, end: int, depth: int, default: str) -> Part:
    budget.parts_left -= 1
    header = split_header(data, start, end, most=budget.limits.max_header)
    return _entity(data, budget, header, start, end, depth, default)


def _cut(
    data: bytes, budget: Budget, ranges: Iterator[tuple[int, int]], depth: int, kind: str
) -> tuple[tuple[Part, ...], bool]:
    """Return the parts in these ranges, and whether some were left because the budget is spent."""
    default = "message/rfc822" if kind == "multipart/digest" else "text/plain"
    parts: list[Part] = []
    for start, end in ranges:
        if budget.parts_left <= 0:
            return tuple(parts), True
        parts.append(_child(data, budget, start, end, depth, default))
    return tuple(parts), budget.lookalikes_left <= 0


def _preamble(data: bytes, start: int, children: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return what stands before the first boundary as a text.

    Only for an entity with two types: a reader that believes the other one sees it.
    """
    end = _line_before(data, children[0].start) if children else start
    return (Part(start, start, end),) if data[start:end].strip() else ()


def _line_before(data: bytes, at: int) -> int:
    """Return where the boundary line begins that ends at ``at``."""
    return data.rfind(b"\n", 0, max(at - 1, 0)) + 1


def _disposition(header: HeaderBlock) -> tuple[str, dict[str, str]]:
    value = header.first("content-disposition")
    if not value:
        return "", {}
    kind, params = media_type(f"x/{value}", "x/attachment")
    return kind.removeprefix("x/"), params


def _neutral(name: str) -> str:
    """Return a file name without directories, cut to what file systems take."""
    if "=?" in name:
        name = decode_words(name)
    name = name.replace("\\", "/").rpartition("/")[2].strip()
    return name[:200]


# ── Boundaries ───────────────────────────────────────────────────────────────────────────────────


def _ranges(
    data: bytes, budget: Budget, start: int, end: int, boundary: str
) -> Iterator[tuple[int, int]]:
    """Yield the byte ranges between boundary lines (RFC 2046 section 5.1.1).

    A missing boundary is guessed from the first line that looks like one and comes again; the last
    part of a multipart that is never closed reaches to its end.
    """
    mark = boundary.strip().encode("utf-8", "surrogateescape") if boundary.strip() else b""
    if not mark or data.find(b"--" + mark, start, end) < 0:
        mark = _guess(data, start, end)
    if not mark:
        return
    begun = -1
    for line_start, line_end, closes in _delimiters(data, budget, start, end, mark):
        if begun >= 0:
            yield begun, max(begun, _before_line_end(data, line_start))
        begun = line_end
        if closes:
            return
    if begun >= 0:
        yield begun, end


def _delimiters(
    data: bytes, budget: Budget, start: int, end: int, mark: bytes
) -> Iterator[tuple[int, int, bool]]:
    """Yield (start of line, end of line, closes) of each boundary line."""
    begin = b"\n--" + mark
    at = start - 1  # a multipart has a header, whose last octet is the line end before the body
    while (found := data.find(begin, at, end)) >= 0 and budget.lookalikes_left > 0:
        at = found + len(begin)
        line_end = data.find(b"\n", at, end) + 1 or end
        tail = data[at : min(line_end, at + 1000)].strip(b" \t\r\n")
        if tail in {b"", b"--"}:
            yield found + 1, line_end, tail == b"--"
            at = line_end - 1
        else:
            budget.lookalikes_left -= 1


def _before_line_end(data: bytes, at: int) -> int:
    """Return where the line before ``at`` ends without its CRLF or LF."""
    if at and data[at - 1] == 0x0A:
        at -= 1
        if at and data[at - 1] == 0x0D:
            at -= 1
    return at


def _guess(data: bytes, start: int, end: int) -> bytes:
    """Return the boundary that the body itself shows, or nothing.

    The first line beginning with two dashes counts when the same line comes again or is closed.
    """
    line = _GUESSED.match(data, start, end)
    if line is None:
        at = data.find(b"\n--", start, min(end, start + 65536))
        line = _GUESSED.match(data, at + 1, end) if at >= 0 else None
    if line is None or line[1].startswith(b"---"):
        return b""
    mark = line[1].removesuffix(b"--")
    again = data.find(b"\n--" + mark, line.end() - 1, end)
    return mark if again >= 0 and mark else b""


# ── Octets of a part ─────────────────────────────────────────────────────────────────────────────


def signed_octets(data: bytes, part: Part) -> bytes:
    """Return what a signature over this part covers (RFC 3156 section 5).

    A mail without any CR has lost its line ends on the way, and gets them back first.
    """
    octets = data[part.start : part.end]
    return octets if b"\r" in data else octets.replace(b"\n", b"\r\n")


def mended_octets(data: bytes, part: Part) -> bytes | None:
    """Return the part with all line ends made CRLF, or None when that changes nothing.

    For mails whose line ends were mended only in part; the text that is judged stays the same.
    """
    octets = data[part.start : part.end]
    if b"\r" not in data or octets.count(b"\n") == octets.count(b"\r\n"):
        return None
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def epilogue_is_blank(data: bytes, part: Part) -> bool:
    """Whether nothing but white space follows the last part of a multipart."""
    if not part.children:
        return True
    after = data[part.children[-1].end : min(part.end, part.children[-1].end + 4096)]
    _, _, rest = after.lstrip(b"\r\n").partition(b"\n")
    return not rest.strip()

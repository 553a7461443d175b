"""How do the octets of a text become words?  Charsets and HTML, without raising.

What a sender wrote is never dropped: unknown charsets are read as well as can be and it is said
that we guessed, HTML loses its markup and keeps its words and addresses, and nothing is fetched.
"""

from __future__ import annotations

import codecs
import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # 2 MB, for those who read HTML: the daemon leaves that to its children
    from selectolax.lexbor import LexborNode

# ── Charsets ─────────────────────────────────────────────────────────────────────────────────────

_FAMILIES = (
    "ascii", "utf_8", "utf-8", "utf_16", "utf-16", "utf_32", "utf-32", "iso8859", "iso-8859",
    "latin", "cp", "koi8", "gb", "big5", "euc", "shift_jis", "iso2022", "mac-", "mac_", "ptcp154",
    "tis", "kz1048", "johab", "hp-roman8", "hp_roman8",
)  # fmt: skip
"""Beginnings of the codecs that mail uses; idna, utf-7, unicode_escape, rot13 and their like are
no charsets of mail, and some of them are slow or turn harmless octets into something else."""

_ODD = frozenset({"cp65001"})
_RENAMED = {
    "iso-8859-8-i": "iso-8859-8", "iso-8859-8-e": "iso-8859-8", "unicode-1-1-utf-8": "utf-8",
    "x-gbk": "gbk", "ks_c_5601-1987": "cp949", "ks_c_5601": "cp949", "x-sjis": "shift_jis",
    "windows-874": "cp874", "x-mac-roman": "mac-roman", "gb2312": "gb18030", "gbk": "gb18030",
    "macintosh": "mac-roman",
}  # fmt: skip


def decode(octets: bytes, charset: str | None) -> tuple[str, bool]:
    """Return the text and whether the charset had to be guessed.

    Without a charset, or with one that is unknown or does not fit, UTF-8 is tried and then
    ISO 8859-1, which fits everything.
    """
    if octets.isascii() and (charset is None or charset.lower() in _ASCII_SUPERSETS):
        return octets.decode("ascii"), False
    codec = _codec(charset) if charset else None
    if codec is not None:
        try:
            return codec.decode(octets)[0], False
        except (UnicodeError, ValueError, OverflowError):  # a codec may fail as it likes
            pass
    for guess in ("utf-8", "latin-1"):
        try:
            return octets.decode(guess), True
        except UnicodeDecodeError:
            continue
    return octets.decode("ascii", "replace"), True


_ASCII_SUPERSETS = frozenset(
    {"", "utf-8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "windows-1252", "utf8"}
)


def _codec(charset: str) -> codecs.CodecInfo | None:
    name = charset.strip().strip("\"'").lower()
    name = _RENAMED.get(name, name)
    if not name or len(name) > 64 or not name.isascii() or not name.isprintable():
        return None
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    return codec if codec.name.startswith(_FAMILIES) and codec.name not in _ODD else None


def readable(text: str) -> str:
    """Return the text with lines ended by LF and each NUL made visible."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\0", "\ufffd") if "\0" in text else text


# ── HTML ─────────────────────────────────────────────────────────────────────────────────────────

_BLOCKS = frozenset(
    {
        "address", "article", "aside", "body", "caption", "center", "dd", "details", "dialog",
        "dir",
        "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3",
        "h4", "h5", "h6", "header", "hgroup", "html", "legend", "li", "main", "menu", "nav", "ol",
        "optgroup", "option", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead",
        "title", "tr", "ul", "xmp", "listing", "plaintext",
    }
)  # fmt: skip
_SPACED = frozenset(
    {"p", "pre", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table"}
)
_VERBATIM = frozenset({"pre", "textarea", "xmp", "listing", "plaintext"})
_DROPPED = frozenset({"script", "style"})
_VOID = frozenset(
    {
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param",
        "source", "track", "wbr", "p",
    }
)  # fmt: skip
_SOURCES = {"img": "src", "iframe": "src", "embed": "src", "object": "data", "video": "src",
            "audio": "src", "area": "href", "link": "href"}  # fmt: skip
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_TEMPLATE = re.compile(r"</?template[^<>]*>", re.IGNORECASE)
_MARKUP = re.compile(r"<[^<>]*>")
_WHITE = re.compile(r"[ \t\n\r\f]+")
_HARMLESS = re.compile(r"<!--.*?-->|</?[a-zA-Z!][^<>]*>|&nbsp;|\s+", re.DOTALL)
_ADDRESSED = re.compile(r"src|href|url\(|data|background", re.IGNORECASE)
_DEAREST = 10_000_000


def html_to_text(markup: str) -> str:
    """Return the words of HTML: links as ``text <url>``, quotes by ``>``, lists by ``*``.

    Text that a style hides is kept, because what a reader is not meant to see is just what a
    triager has to see.  Scripts and styles are dropped, comments too.  Markup that would cost the
    parser too long (it is quadratic in open elements) is stripped of its tags instead.
    """
    if _cost(markup) > _DEAREST:
        return readable(html.unescape(_MARKUP.sub(" ", markup)))
    from selectolax.lexbor import LexborHTMLParser

    root = LexborHTMLParser(_TEMPLATE.sub("", markup)).root
    return _Renderer().render(root) if root is not None else ""


def is_blank_html(markup: str) -> bool:
    """Whether a document without words holds nothing else either: only whole, harmless tags.

    A tag that is cut off, or that names an address, may act together with its neighbours when
    another program joins the parts, so it is not nothing.
    """
    return not _HARMLESS.sub("", markup) and not _ADDRESSED.search(markup)


def _cost(markup: str) -> int:
    """Return an upper bound of the sum of open elements over all tags."""
    open_tags: dict[str, int] = {}
    depth = cost = 0
    for closing, name in _TAG.findall(markup):
        tag = name.lower()
        if tag in _VOID:
            continue
        if not closing:
            open_tags[tag] = open_tags.get(tag, 0) + 1
            depth += 1
        elif open_tags.get(tag, 0):
            open_tags[tag] -= 1
            depth -= 1
        cost += depth
    return cost


@dataclass(slots=True)
class _Frame:
    """An open element: its tag, the address it links to, and the last number of its list."""

    tag: str
    address: str = ""
    ordinal: int = 0


class _Renderer:
    """Walks a tree without recursion and writes its words."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line: list[str] = []
        self._quotes = 0
        self._verbatim = 0
        self._frames: list[_Frame] = []

    def render(self, root: LexborNode) -> str:
        """Return the text of the tree."""
        node: LexborNode | None = root
        while node is not None:
            entered = self._enter(node)
            child = node.child if entered else None
            if child is not None:
                node = child
                continue
            if entered:
                self._leave()
            node = self._climb(node)
        self._break()
        text = "\n".join(self._lines).strip("\n")
        return f"{text}\n" if text else ""

    def _climb(self, node: LexborNode) -> LexborNode | None:
        """Return the next node in order, closing the elements that end before it."""
        at: LexborNode | None = node
        while at is not None:
            if at.next is not None:
                return at.next
            at = at.parent
            if not self._frames:
                return None
            self._leave()
        return None

    def _enter(self, node: LexborNode) -> bool:
        """Write what stands before an element's content, and say whether to go into it."""
        tag = node.tag or ""
        if tag == "-text":
            self._text(node.text_content or "")
            return False
        if tag in _DROPPED or tag.startswith(("_", "-", "!")):
            return False
        if tag == "br":
            self._break(force=True)
            return False
        frame = _Frame(tag)
        self._open(node, tag, frame)
        self._frames.append(frame)
        return True

    def _open(self, node: LexborNode, tag: str, frame: _Frame) -> None:
        if tag in _SPACED:
            self._space()
        elif tag in _BLOCKS:
            self._break()
        attributes = node.attributes if tag in _SOURCES or tag in {"a", "input"} else {}
        match tag:
            case "a":
                frame.address = _WHITE.sub("", attributes.get("href") or "")
            case "li":
                self._line.append(self._bullet())
            case "blockquote":
                self._quotes += 1
            case "td" | "th" if self._line:
                self._line.append("\t")
            case "hr":
                self._break()
                self._line.append("---")
                self._break()
            case "input":
                self._line.append(attributes.get("value") or "")
            case _ if tag in _SOURCES:
                self._line.append(_source(tag, attributes))
        if tag in _VERBATIM:
            self._verbatim += 1

    def _leave(self) -> None:
        """Write what stands after the element that closes now."""
        frame = self._frames.pop()
        if frame.address and not self._shows(frame.address):
            self._line.append(f" <{frame.address}>")
        if frame.tag in _SPACED:
            self._space()
        elif frame.tag in _BLOCKS:
            self._break()
        if frame.tag in _VERBATIM:
            self._verbatim -= 1
        if frame.tag == "blockquote":
            self._quotes -= 1

    def _shows(self, address: str) -> bool:
        """Whether the line ends with the address that a link points to anyway."""
        shown = "".join(self._line[-4:]).rstrip()
        return shown.endswith(address.removeprefix("mailto:"))

    def _bullet(self) -> str:
        parent = self._frames[-1] if self._frames else None
        if parent is None or parent.tag != "ol":
            return "* "
        parent.ordinal += 1
        return f"{parent.ordinal}. "

    def _text(self, text: str) -> None:
        if self._verbatim:
            first, *others = readable(text).split("\n")
            self._line.append(first)
            for other in others:
                self._break(force=True)
                self._line.append(other)
            return
        words = _WHITE.sub(" ", text)
        if not self._line or self._line[-1].endswith((" ", "\t")):
            words = words.removeprefix(" ")
        if words:
            self._line.append(words)

    def _break(self, *, force: bool = False) -> None:
        """End the line if there is anything on it, or in any case."""
        line = "".join(self._line).replace("\xa0", " ")
        self._line.clear()
        line = line.rstrip() if self._verbatim else line.strip()
        if line or force:
            self._lines.append(f"{'> ' * min(self._quotes, 8)}{line}".rstrip())

    def _space(self) -> None:
        """End the line and leave one empty."""
        self._break()
        if self._lines and self._lines[-1]:
            self._lines.append("")


def _source(tag: str, attributes: dict[str, str | None]) -> str:
    """Return a picture or its like in words: what it says of itself and where it points."""
    address = _WHITE.sub("", attributes.get(_SOURCES[tag]) or "")
    shown = (attributes.get("alt") or "").strip()
    if address.lower().startswith("data:"):
        address = address[:64]
    named = f"[{shown or tag}]" if tag in {"img", "area"} else ""
    return " ".join(piece for piece in (named, f"<{address}>" if address else "") if piece)

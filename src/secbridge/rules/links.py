"""Does an address lead into the tracker, to something that others may not see?

What looks like the tracker's host and is not (``gitlab.example.evil.example``) leads elsewhere;
what is it in another spelling (a login, a port, other letters, ``%2D``) does not.  So hosts are
parsed and compared whole, and paths are read word by word.  Public pages of the same host may be
told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from html import unescape
from unicodedata import normalize
from urllib.parse import unquote, urlsplit


class Lead(Enum):
    """Where an address leads that may not leave: to one thing in the tracker, or to a file."""

    INSIDE = auto()
    TO_FILE = auto()


_THINGS = frozenset(
    {"advisories", "epics", "incidents", "issue", "issues", "merge_requests", "pull", "pulls",
     "snippets", "vulnerabilities", "work_items"}
)  # fmt: skip
"""Words of a path behind which stands one thing, unless it is the list or the form for a new one.

Another project's public issue on the same host looks the same, and goes with them.
"""
_FILES = frozenset({"attachment", "attachments", "secure", "uploads", "user-attachments"})
_MACHINES = frozenset({"api", "rest"})
_PLACES = ("note_", "issuecomment-", "discussion_r", "discussioncomment-")
_FILE_HOSTS = frozenset(
    {"private-user-images.githubusercontent.com", "user-images.githubusercontent.com"}
)
_FILE_DOMAIN = "githubusercontent.com"
_UPLOAD = re.compile(r"/uploads/[0-9a-f]{32}/|/user-attachments/(?:assets|files)/", re.IGNORECASE)
_OUR_FOLDER = re.compile(r"/secbridge/sb-\d{4}-\d+/")
"""Where files lie that a GitHub cannot attach to an issue."""

_KEY = re.compile(r"[a-z][a-z0-9_]*-[0-9]+")
_PARTS = re.compile(r"[^/?#=&,;]+")
_LONGEST_HOST = 255


@dataclass(frozen=True, slots=True)
class Home:
    """Where the case's issue is: its host, the paths of its project and of itself, in lower case.

    ``key`` is that of a Jira's project.
    """

    host: str = ""
    project: str = ""
    path: str = ""
    key: str = ""


def home_of(url: str) -> Home:
    """Return what the address of an issue says; nothing where it is none."""
    try:
        parsed = urlsplit(url)
        host = _host(parsed.hostname or "")
    except ValueError:
        return Home()
    path = unquote(parsed.path).casefold().rstrip("/")
    words = path.split("/")
    if "browse" in words[:-1] and _KEY.fullmatch(words[-1]):
        return Home(host, "", path, words[-1].rpartition("-")[0])
    ends = [place for place, word in enumerate(words) if word in {"-", "security", *_THINGS}]
    return Home(host, "/".join(words[: ends[0]]) if ends else "", path)


def _host(name: str) -> str:
    """Return a host's name in one for all its spellings: dots, case, width, IDN (RFC 3490)."""
    plain = normalize("NFKC", name).casefold().rstrip(".")
    if not plain.isascii():
        try:
            plain = plain.encode("idna").decode("ascii")
        except UnicodeError:
            return plain
    return plain.removeprefix("www.")


def judged(link: str, home: Home) -> Lead | None:
    """Return what a link is, if it may not leave; what is no link at all may."""
    plain = unquote(unescape(link)).replace("\\", "/").casefold()
    if _UPLOAD.search(plain):
        return Lead.TO_FILE
    for part in _PARTS.finditer(plain):
        hosts = _hosts_in(part[0], home)
        if hosts & _FILE_HOSTS:
            return Lead.TO_FILE
        if f"api.{home.host}" in hosts:
            return Lead.INSIDE
        if home.host in hosts:
            return _page(plain[part.end() :], home)
    return _relative(plain, home)


def _hosts_in(part: str, home: Home) -> set[str]:
    """Return what may be a host between two delimiters: without a login, apart from its port.

    Most parts are none and are passed over quickly; how others are spelled is looked at.
    """
    if part.isascii() and (not home.host or home.host not in part) and _FILE_DOMAIN not in part:
        return set()
    names = part.rpartition("@")[2].split(":", 4)[:4]
    return {_host(name) for name in names if len(name) <= _LONGEST_HOST} - {""}


def _page(path: str, home: Home) -> Lead | None:
    """Return what a page of the tracker's host is, if it may not leave."""
    words = _PARTS.findall(path)
    if not words:
        return None
    if _FILES.intersection(words) or _OUR_FOLDER.search(path):
        return Lead.TO_FILE
    is_thing = (
        words[0] in _MACHINES
        or (len(home.path) > 1 and path.startswith(home.path))
        or any(word.startswith(_PLACES) for word in words)
        or (home.key and any(word.startswith(f"{home.key}-") for word in words))
        or any(_is_thing(words, place) for place in range(len(words)))
    )
    return Lead.INSIDE if is_thing else None


def _is_thing(words: list[str], place: int) -> bool:
    """Return whether one thing stands behind a word; ``/advisories/GHSA-…`` itself is public."""
    word, behind = words[place], words[place + 1 : place + 3]
    if word == "browse":
        return bool(behind) and bool(_KEY.match(behind[0]))
    return word in _THINGS and behind not in ([], ["new"]) and (word, place) != ("advisories", 0)


def _relative(path: str, home: Home) -> Lead | None:
    """Return what a path without a host is: one with GitLab's ``/-/``, or of the case's project."""
    first = path.lstrip("/").partition("/")[0]
    is_host = not path.startswith("/") and "." in first.lstrip(".")
    if "://" in path or path.startswith("//") or is_host:
        return None
    _, found, behind = path.partition("/-/")
    if found:
        return _page(behind, home)
    if home.project.count("/") > 1 and f"/{path.lstrip('/')}".startswith(f"{home.project}/"):
        return _page(f"/{path.lstrip('/')}".removeprefix(home.project), home)
    return None

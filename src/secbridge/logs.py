"""What does a log line look like, and what never stands in one?  Never content.

Lines of ours come from ``maillog`` and are JSON, or colours on a terminal.  A traceback is told as
classes and places: no local variables, and no text of an exception that is not ours, because
libraries put addresses, subjects and tokens there.  A line of a library is told as its logger and
its weight, from WARNING on, without its text.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from secbridge.errors import SecbridgeError

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

LOUD_LIBRARIES = (
    "aiosmtplib", "alembic", "asyncio", "gitlab", "gnupg", "mail.debug", "mail.error", "mail.log",
    "py.warnings", "sqlalchemy", "urllib3",
)  # fmt: skip
"""Loggers that set levels of their own, or that print mail at their lower ones."""

_FRAMES = 30
"""Frames of a traceback that are told: the innermost."""


def configure(
    log_format: str = "auto", level: str = "info", *, stream: TextIO | None = None
) -> None:
    """Send all log lines of this process to one stream (standard output unless told otherwise).

    ``log_format`` is ``auto``, ``json`` or ``console``; ``level`` is ``debug`` to ``error``.
    """
    out = sys.stdout if stream is None else stream
    is_json = log_format == "json" or (log_format == "auto" and not out.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            tell_exceptions,
            *(_json() if is_json else _console(colors=out.isatty())),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: _Line(out),
        cache_logger_on_first_use=False,
    )
    _quiet_libraries()


def _json() -> list[Processor]:
    return [structlog.processors.JSONRenderer(sort_keys=False, default=_by_class)]


def _console(*, colors: bool) -> list[Processor]:
    return [_lines_of_exception, structlog.dev.ConsoleRenderer(colors=colors)]


def _by_class(value: object) -> str:
    """Stand in for a value that JSON does not know: its class, since its text may hold anything."""
    return f"<{type(value).__name__}>"


class _Line:
    """Writes one line and never fails: a full disk or a closed pipe must not stop a delivery."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


# ── Exceptions ───────────────────────────────────────────────────────────────────────────────────


def tell_exceptions(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace ``exc_info`` by classes and places; only our own errors keep their sentence."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    exc = info[1] if isinstance(info, tuple) else info
    if isinstance(exc, BaseException):
        event["exception"] = [_told(one) for one in _chain(exc)]
    return event


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """Return an exception and what caused it, as Python would print them, without circles."""
    seen: set[int] = set()
    following: BaseException | None = exc
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _told(exc: BaseException) -> dict[str, Any]:
    kind = type(exc)
    told: dict[str, Any] = {"kind": f"{kind.__module__}.{kind.__qualname__}"}
    if isinstance(exc, SecbridgeError):
        told["text"] = str(exc)
    told["at"] = list(_places(exc.__traceback__))[-_FRAMES:]
    return told


def _places(trace: TracebackType | None) -> Iterator[str]:
    for frame, line in walk_tb(trace):
        path = Path(frame.f_code.co_filename)
        yield f"{path.parent.name}/{path.name}:{line} {frame.f_code.co_qualname}"


def _lines_of_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Lay out what ``tell_exceptions`` found for a person."""
    if "exception" in event:
        lines: list[str] = []
        for told in event["exception"]:
            lines.append(f"  {told['kind']} {told.get('text', '')}".rstrip())
            lines += [f"    {place}" for place in reversed(told["at"])]
        event["exception"] = "\n".join(lines)
    return event


# ── Libraries ────────────────────────────────────────────────────────────────────────────────────


def _quiet_libraries() -> None:
    """Let every library's line pass through ``_Neighbour``, from WARNING on."""
    root = logging.getLogger()
    root.handlers = [_Neighbour()]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    for name in LOUD_LIBRARIES:
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True
        library.setLevel(logging.WARNING)


class _Neighbour(logging.Handler):
    """Tells that a library had something to say, and in case of an error which; never the text."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger("secbridge")
        facts: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            facts["exc_info"] = record.exc_info
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write("library", **facts)

"""Logs: what a line looks like, and what never stands in one."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from secbridge import logs, maillog
from secbridge.errors import Deferral

CANARY = "hunter2-canary"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        """Fail as the disk does."""
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Give the loggers back as they were."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    kept = {
        name: (one.handlers[:], one.propagate, one.level)
        for name in logs.LOUD_LIBRARIES
        for one in [logging.getLogger(name)]
    }
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers, root.level = before[0], before[1]
    for name, (handlers, propagate, level) in kept.items():
        one = logging.getLogger(name)
        one.handlers, one.propagate, one.level = handlers, propagate, level


def lines(stream: io.StringIO) -> list[Any]:
    """Return what was written, one JSON value a line."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def failing() -> None:
    """Fail as a library does, with content in the text and in a local variable."""
    local = CANARY
    raise ValueError(f"cannot parse {local}")


def test_a_line_is_one_json_object_with_event_time_and_weight() -> None:
    """What is no terminal gets JSON, one line each, with the time in UTC."""
    out = io.StringIO()
    logs.configure(stream=out)
    maillog.done("d-1")
    (line,) = lines(out)
    assert line["event"] == "delivery.done"
    assert line["delivery"] == "d-1"
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_a_terminal_gets_colours_and_a_file_none() -> None:
    """The format "console" in a file is the same text without escape codes."""
    for stream, coloured in ((Terminal(), True), (io.StringIO(), False)):
        logs.configure("auto" if coloured else "console", stream=stream)
        maillog.done("d-1")
        assert ("\x1b[" in stream.getvalue()) is coloured
        assert "delivery.done" in stream.getvalue()


def test_lines_below_the_chosen_weight_are_not_written() -> None:
    """A quiet log tells of what waits and of what broke."""
    out = io.StringIO()
    logs.configure(level="warning", stream=out)
    maillog.done("d-1")
    maillog.quarantined("d-2", "died")
    assert [line["event"] for line in lines(out)] == ["delivery.quarantined"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_has_places_and_classes_and_nothing_else(log_format: str) -> None:
    """Neither the text of a foreign exception nor a local variable is ever told."""
    out = io.StringIO()
    logs.configure(log_format, stream=out)
    try:
        failing()
    except ValueError:
        structlog.get_logger().error("fault", exc_info=True)
    assert CANARY not in out.getvalue()
    assert "builtins.ValueError" in out.getvalue()
    assert "test_logs.py" in out.getvalue()
    assert "failing" in out.getvalue()


def test_the_cause_of_an_exception_is_told_the_same_way() -> None:
    """A chain is told from the last to the first, with our own sentences only."""
    out = io.StringIO()
    logs.configure(stream=out)
    try:
        try:
            failing()
        except ValueError as exc:
            raise Deferral("gpg-timeout", "It took too long.") from exc
    except Deferral as exc:
        structlog.get_logger().error("fault", exc_info=exc)
    (line,) = lines(out)
    assert [told["kind"] for told in line["exception"]] == [
        "secbridge.errors.Deferral",
        "builtins.ValueError",
    ]
    assert line["exception"][0]["text"] == "gpg-timeout: It took too long."
    assert CANARY not in out.getvalue()


def test_a_circle_of_causes_ends() -> None:
    """Two exceptions that name each other are told once each."""
    out = io.StringIO()
    logs.configure(stream=out)
    one, other = ValueError(CANARY), KeyError(CANARY)
    one.__cause__, other.__cause__ = other, one
    structlog.get_logger().error("fault", exc_info=one)
    (line,) = lines(out)
    assert len(line["exception"]) == 2


@pytest.mark.parametrize("name", [*logs.LOUD_LIBRARIES, "somebody.else"])
def test_a_library_is_heard_from_warnings_on_and_without_its_text(name: str) -> None:
    """The library of SMTP prints addresses at INFO and mails at DEBUG."""
    out = io.StringIO()
    logging.getLogger("mail.log").setLevel(logging.DEBUG)
    logs.configure(level="debug", stream=out)
    log = logging.getLogger(name)
    log.debug("DATA %s", CANARY)
    log.info("from %s", CANARY)
    log.warning("cannot send to %s", CANARY)
    (line,) = lines(out)
    assert (line["event"], line["logger"], line["level"]) == ("library", name, "warning")
    assert CANARY not in out.getvalue()


def test_a_library_that_failed_is_told_by_the_class_of_its_error() -> None:
    """Asyncio tells of a task that nobody waited for: the class and the place are enough."""
    out = io.StringIO()
    logs.configure(stream=out)

    async def forgotten() -> None:
        failing()

    async def forget() -> None:
        task = asyncio.create_task(forgotten())
        await asyncio.wait([task])
        del task

    asyncio.run(forget())
    (line,) = lines(out)
    assert (line["event"], line["logger"], line["level"]) == ("library", "asyncio", "error")
    assert line["exception"][0]["kind"] == "builtins.ValueError"
    assert CANARY not in out.getvalue()


def test_a_warning_of_python_loses_its_text_too() -> None:
    """Warnings quote what they warn of."""
    out = io.StringIO()
    logs.configure(stream=out)
    with warnings.catch_warnings():
        logging.captureWarnings(capture=False)
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(CANARY, stacklevel=1)
    assert [line["logger"] for line in lines(out)] == ["py.warnings"]
    assert CANARY not in out.getvalue()


def test_a_value_that_is_no_json_is_told_by_its_class() -> None:
    """Its text might hold anything."""
    out = io.StringIO()
    logs.configure(stream=out)
    structlog.get_logger().info("odd", value=ValueError(CANARY))
    (line,) = lines(out)
    assert line["value"] == "<ValueError>"


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    """A full disk or a closed pipe must not keep a delivery from its end."""
    logs.configure(stream=Full())
    maillog.done("d-1")
    closed = io.StringIO()
    logs.configure(stream=closed)
    closed.close()
    maillog.done("d-1")

"""Is a comment a command?  Only when its first line says so, and only what we know."""

from __future__ import annotations

import pytest

from secbridge.rules.commands import (
    USAGES,
    Command,
    CommandName,
    Mistake,
    MistakeKind,
    parse,
)

FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
ACCEPT = Command(CommandName.KEY_ACCEPT, FINGERPRINT)


@pytest.mark.parametrize(
    "text",
    [
        f"sb: key accept {FINGERPRINT}",
        f"SB: Key Accept {FINGERPRINT}",
        f"  sb:key accept   {FINGERPRINT}  ",
        f"`sb: key accept {FINGERPRINT}`",
        f"sb: key accept `{FINGERPRINT}`",
        f"sb: key accept {FINGERPRINT}\r\n",
    ],
)
def test_a_command_is_known_however_it_is_typed(text: str) -> None:
    """Case, blanks and code spans are a matter of taste and of the tracker's editor."""
    assert ACCEPT == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "key accept me",
        f"Please type\nsb: key accept {FINGERPRINT}",
        f"> sb: key accept {FINGERPRINT}",
        f"    \nsb: key accept {FINGERPRINT}",
        "sb",
        "@sb: help",
        "the sb: prefix is for the robot",
    ],
)
def test_what_does_not_begin_with_the_mark_is_no_command(text: str) -> None:
    """A quotation, an explanation, or a second line never acts."""
    assert parse(text) is None


def test_what_follows_the_first_line_is_the_text() -> None:
    """A later command may carry a text; its blank lines in the middle stay."""
    assert Command(CommandName.HELP, "", "one\n\ntwo") == parse("sb: help\n\none\n\ntwo\n")


def test_the_mark_alone_asks_for_help() -> None:
    """Somebody who knows only the mark finds the rest."""
    assert Command(CommandName.HELP) == parse("sb:")


def test_an_unknown_command_is_a_mistake_and_not_silence() -> None:
    """A typo must not look like something that was done."""
    assert Mistake(MistakeKind.UNKNOWN) == parse("sb: key acept x")


def test_a_command_without_its_argument_is_a_mistake_that_names_it() -> None:
    """So that the answer can say how it is typed."""
    expected = Mistake(MistakeKind.NO_ARGUMENT, CommandName.KEY_ACCEPT)
    assert expected == parse("sb: key accept")


def test_another_mark_is_the_only_one_then() -> None:
    """Where the operator chose another mark, the default one means nothing."""
    assert Command(CommandName.HELP) == parse("robot: help", mark="robot:")
    assert parse("sb: help", mark="robot:") is None


def test_every_command_says_how_it_is_typed() -> None:
    """The help of the issue lists them all, each with the words that the parser takes."""
    assert set(CommandName) == set(USAGES)
    for name, usage in USAGES.items():
        found = parse(f"sb: {usage.form}")
        assert isinstance(found, Command)
        assert name == found.name

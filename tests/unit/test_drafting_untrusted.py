"""Is a stranger's text shown as it is?  All of it, with nothing hidden and nothing that steers."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secbridge.rules.drafting.untrusted import (
    longest_run,
    single_line,
    split_trailing_quote,
    visible,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\tb", "a\tb"),
        ("\x1b[31mred", "⟦U+001B⟧[31mred"),
        ("\x9b2J", "⟦U+009B⟧2J"),
        ("\x00", "⟦U+0000⟧"),
        ("\x00\x00\x01", "⟦U+0000⟧⟦U+0000⟧⟦U+0001⟧"),
        ("a" + "\x00" * 1_000_000, "a⟦U+0000 x 1000000⟧"),
        ("ab\u202edc", "ab⟦U+202E⟧dc"),
        ("\u2066x\u2069", "⟦U+2066⟧x⟦U+2069⟧"),
        ("a\u2028b", "a⟦U+2028⟧b"),
        ("zero\u200bwidth", "zero⟦U+200B⟧width"),
        ("\ufeffbom", "⟦U+FEFF⟧bom"),
        ("\U000e0041", "⟦U+E0041⟧"),
        ("\ud800", "⟦U+D800⟧"),
        ("naïve 中文 می\u200cخ 👩\u200d💻", "naïve 中文 می\u200cخ 👩\u200d💻"),
    ],
)
def test_what_hides_or_steers_is_written_out(text: str, shown: str) -> None:
    """Controls, direction marks and invisible characters become words; writing stays writing."""
    assert shown == visible(text)


@given(st.text(alphabet=st.characters()))
def test_visible_text_can_be_sent_and_steers_nothing(text: str) -> None:
    """For any text: it is UTF-8, and no control but tab and line feed is left in it."""
    shown = visible(text)
    assert shown.encode().decode() == shown
    assert {"\t", "\n"} >= {c for c in shown if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}}


@given(st.text())
def test_making_visible_twice_changes_nothing(text: str) -> None:
    """What is visible stays as it is."""
    assert visible(text) == visible(visible(text))


def test_a_single_line_is_one_line_and_says_when_it_is_cut() -> None:
    """Subjects, addresses and names have one line, of bounded length."""
    assert single_line(" a\r\nb\t c ") == "a b c"
    assert single_line("x" * 9, limit=5) == "xxxxx [cut]"
    assert single_line("x" * 5, limit=5) == "xxxxx"


def test_the_longest_run_is_found() -> None:
    """The fence is made longer than this."""
    assert (longest_run("", "`"), longest_run("a`b", "`"), longest_run("``a```", "`")) == (0, 1, 3)


OWN = "Thanks, here is more.\n"


@pytest.mark.parametrize(
    ("text", "own", "quote"),
    [
        (f"{OWN}\n> old\n> words", f"{OWN}", "> old\n> words"),
        (
            f"{OWN}\nOn Monday 2 Nov, Team wrote:\n> old\n",
            f"{OWN}",
            "On Monday 2 Nov, Team wrote:\n> old\n",
        ),
        (
            f"{OWN}\nAm 2.11.2026 um 10:00 schrieb\nTeam <t@example.org>:\n\n> alt",
            f"{OWN}",
            "Am 2.11.2026 um 10:00 schrieb\nTeam <t@example.org>:\n\n> alt",
        ),
        (f"> question\n{OWN}", f"> question\n{OWN}", ""),
        (f"> question\n{OWN}> last", f"> question\n{OWN.strip()}", "> last"),
        ("> nothing\n> but a quote", "> nothing\n> but a quote", ""),
        ("no quote at all", "no quote at all", ""),
        ("", "", ""),
        ("$ cat x\n> output\nend", "$ cat x\n> output\nend", ""),
        ("How to reproduce:\n> 1. run it", "How to reproduce:", "> 1. run it"),
    ],
)
def test_only_a_quote_at_the_end_is_told_apart(text: str, own: str, quote: str) -> None:
    """A last block of ``>`` lines with its attribution is the quote; the rest is own words."""
    parts = tuple(part.strip("\n") for part in split_trailing_quote(text))
    assert (own.strip("\n"), quote.strip("\n")) == parts


@given(st.lists(st.sampled_from(["> q", "text", "", "On 1.1. x@y wrote:", ">", " > "])))
def test_the_two_parts_are_the_whole_text(lines: list[str]) -> None:
    """Nothing is cut, whatever the text looks like."""
    text = "\n".join(lines)
    own, quote = split_trailing_quote(text)
    assert text == (f"{own}\n{quote}" if quote else own)


def test_a_long_text_is_split_in_linear_time() -> None:
    """Half a million lines are no work: the test's time limit is the guard."""
    for line in ("> q\n", "\n", "a:\n", "On 1 wrote:\n"):
        split_trailing_quote(line * 500_000)

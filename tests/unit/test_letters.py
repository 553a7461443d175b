"""What may stand in a letter of the team, and to whom may one go?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.messages import a_case, an_alias

from secbridge.model.alias import Member
from secbridge.model.case import IssueRef
from secbridge.model.reply import LetterFacts, ReplyKind, ReplyText, Submitted
from secbridge.rules import letters

CASE = replace(
    a_case(),
    id="SB-2026-0001",
    issue=IssueRef("main", "acme/web", "7", "#7", "https://gitlab.example.org/acme/web/-/issues/7"),
)


def is_fit(body: str, *, kind: ReplyKind = ReplyKind.REPLY, frame: str = "Hello.") -> bool:
    """Return whether a text may be in a letter of the case."""
    return letters.is_fit_body(kind, body, CASE, frame=lambda: ReplyText("", frame))


@pytest.mark.parametrize(
    ("address", "code"),
    [
        (None, "no-reporter"),
        ("", "no-reporter"),
        ("rita@example.net", None),
        ("noreply@example.net", None),
        ("Security@Example.org", "refused-robot"),
        ("security+rita@example.org", "refused-robot"),
        ("security+sb-abcdef-7@example.org", "refused-robot"),
        ("root@example.org", "refused-robot"),
        ("-rita@example.net", "reporter-unusable"),
        ("rita@[192.0.2.1]", "reporter-unusable"),
        ("rita@example.net>\r\nRCPT TO:<x@example.com", "reporter-unusable"),
    ],
)
def test_a_letter_goes_to_a_person_outside(address: str | None, code: str | None) -> None:
    """To nobody else, whoever asks for it."""
    assert code == letters.refused_address(address, {"security@example.org"})


@given(st.text())
def test_a_fact_is_one_printable_line(text: str) -> None:
    """Whatever it holds, it begins no other line, and it stays as it is a second time."""
    fact = letters.one_line(text)
    assert fact.isprintable()
    assert len(fact) <= 80
    assert fact == letters.one_line(fact)


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_a_text_has_line_ends_of_one_kind_and_can_be_written(text: str) -> None:
    """Also one with half a character in it."""
    plain = letters.plain_text(text)
    assert plain.encode().decode() == plain
    assert plain.splitlines() == (plain.split("\n") if plain else [])
    assert plain == letters.plain_text(plain)


def test_what_stands_for_things_taken_out_says_nothing() -> None:
    """A letter that consists of gaps is none."""
    assert [True, True, False] == [
        letters.says_nothing(text) for text in (" \n", "[link removed]\n[file removed]", "Yes.")
    ]


def test_a_claim_names_the_issue_by_its_address_or_by_how_it_is_read() -> None:
    """A case without an issue has neither."""
    handled = replace(CASE, handler="Mallory\r\nTo: x")
    local = IssueRef("local", "security", "7", "7")
    assert CASE.issue is not None
    assert [
        LetterFacts(handler="Mallory To: x", link=CASE.issue.url),
        LetterFacts(handler="Mallory To: x", link="secbridge issue show 7"),
        LetterFacts(handler="Mallory To: x"),
    ] == [
        letters.claim_facts(case)
        for case in (handled, replace(handled, issue=local), replace(handled, issue=None))
    ]


def test_a_subject_names_its_case_in_one_line_that_is_seen() -> None:
    """Neither too long nor with something that nobody sees."""
    subjects = ["Re: [SB-2026-0001]", "Re: you", "SB-2026-0001 " + "x" * 190, "SB-2026-0001\u202e"]
    fits = [letters.is_fit_subject(subject, CASE.id) for subject in subjects]
    assert [True, False, False, False] == fits


def test_a_finished_text_is_cleaned_once_more() -> None:
    """What an operator's own words hold may stay, and no more than that."""
    assert CASE.issue is not None
    assert is_fit("Hello.")
    assert not is_fit(f"See {CASE.issue.url}.")
    assert not is_fit(f"See {CASE.marker}.")
    assert not is_fit("We are @acme.")
    assert is_fit("We are @acme.", frame="We are @acme.")
    assert not is_fit("We are @acme, ask @alice.", frame="We are @acme.")


def test_a_publication_may_have_an_address_in_our_tracker() -> None:
    """One, and no uploaded file; in other letters none at all."""
    assert CASE.issue is not None
    url, upload = CASE.issue.url, "https://gitlab.example.org/acme/web/uploads/" + "0" * 32 + "/a"
    assert [True, True, False, False] == [
        letters.may_leave(address, CASE)
        for address in ("https://www.example.org/1", url, upload, f"{url} {url}")
    ]
    assert is_fit(f"See {url}.", kind=ReplyKind.DISCLOSED)
    assert not is_fit(f"See {url} and {url}.", kind=ReplyKind.DISCLOSED)
    assert not is_fit(f"See {url}, @alice.", kind=ReplyKind.DISCLOSED)


def test_a_member_is_known_by_name_and_account() -> None:
    """One without a name is called as the address begins; "" is nobody's."""
    alice = Member("alice@example.org", account="al", name="Alice Liddell")
    bob = Member("bob@example.org")
    alias = an_alias(members=(alice, bob))

    assert [True, True, False, False] == [
        letters.is_called(alice, name) for name in ("alice liddell", "AL", "alice", "")
    ]
    assert [True, False] == [letters.is_called(bob, name) for name in ("bob", "")]
    assert ("Alice Liddell", "bob") == (letters.name_of(alice), letters.name_of(bob))
    assert bob == letters.member_at(alias, "Bob@Example.org")
    assert None is letters.member_at(alias, "mallory@example.org")


def test_every_kind_of_mail_says_how_it_came_to_be() -> None:
    """Letters are people's; a claim answers nothing; all else is the answer to a mail."""
    kinds = {each: {kind for kind in ReplyKind if kind.submitted is each} for each in Submitted}
    assert {kind for kind in ReplyKind if kind.is_letter} == kinds[Submitted.BY_PERSON]
    assert {ReplyKind.CLAIM} == kinds[Submitted.GENERATED]

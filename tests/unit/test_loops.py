"""May a machine answer this mail?  One code for each reason why not."""

from __future__ import annotations

import pytest
from tests.support.messages import a_message

from secbridge.model.case import MailClass
from secbridge.model.message import Message
from secbridge.rules.loops import (
    REFUSALS,
    Question,
    is_plain_address,
    reply_refusal,
    without_tag,
)

ALIASES = frozenset({"security@example.org", "psirt@example.org"})


def refusal(
    message: Message,
    *,
    reverse_path: str = "reporter@example.net",
    mail_class: MailClass = MailClass.REPORT,
    aliases: frozenset[str] = ALIASES,
) -> str | None:
    """Return the code, which always stands in the table."""
    code = reply_refusal(Question(message, reverse_path, mail_class, aliases))
    assert code is None or code in REFUSALS
    return code


def test_an_ordinary_report_may_be_answered() -> None:
    """One author, a reverse-path, no mark of a machine."""
    assert None is refusal(a_message())


@pytest.mark.parametrize("value", ["no", "No", " no ; x=y"])
def test_auto_submitted_no_says_that_a_person_wrote(value: str) -> None:
    """RFC 3834 section 5.1: it is the same as the absence of the field."""
    assert None is refusal(a_message(fields={"Auto-Submitted": value}))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"Auto-Submitted": "auto-generated"}, "auto-submitted"),
        ({"Auto-Submitted": "auto-notified; x=1"}, "auto-submitted"),
        ({"Auto-Submitted": ""}, "auto-submitted"),
        ({"X-Autoreply": "yes"}, "auto-submitted"),
        ({"X-Autorespond": "x"}, "auto-submitted"),
        ({"X-Failed-Recipients": "x@y.example"}, "auto-submitted"),
        ({"Precedence": "auto_reply"}, "auto-submitted"),
        ({"List-Id": "<dev.lists.example>"}, "list"),
        ({"List-Unsubscribe": "<mailto:x@y.example>"}, "list"),
        ({"X-Mailman-Version": "2.1"}, "list"),
        ({"Precedence": "List"}, "list"),
        ({"Precedence": "bulk"}, "bulk"),
        ({"Precedence": "junk"}, "bulk"),
        ({"X-Auto-Response-Suppress": "All"}, "suppressed"),
        ({"X-Auto-Response-Suppress": "DR, OOF, AutoReply"}, "suppressed"),
    ],
)
def test_a_header_of_a_machine_forbids_an_answer(fields: dict[str, str], code: str) -> None:
    """RFC 3834 section 2 and the fields that mail programs really use."""
    assert code == refusal(a_message(fields=fields))


@pytest.mark.parametrize("value", ["OOF", "DR, RN, NRN", ""])
def test_who_wants_no_absence_notes_may_still_be_acknowledged(value: str) -> None:
    """X-Auto-Response-Suppress names kinds of replies, and ours is not one of these."""
    assert None is refusal(a_message(fields={"X-Auto-Response-Suppress": value}))


def test_the_null_sender_is_never_answered() -> None:
    """It says that nobody waits for an answer, and would make a loop."""
    assert refusal(a_message(), reverse_path="") == "null-sender"


@pytest.mark.parametrize(
    "reverse_path", ["owner-dev@lists.example", "dev-request@lists.example", "LISTSERV@l.example"]
)
def test_the_envelope_of_a_list_forbids_an_answer(reverse_path: str) -> None:
    """Old list software sets no List- fields (RFC 5230 section 4.6)."""
    assert refusal(a_message(), reverse_path=reverse_path) == "list"


def test_without_exactly_one_author_nobody_is_answered() -> None:
    """No From, two From fields, or two mailboxes: nobody knows whom to answer."""
    assert (
        refusal(a_message(author=None, authors=("a@b.example", "c@d.example")))
        == "no-single-author"
    )


@pytest.mark.parametrize(
    "author",
    [
        '"odd one"@example.net',
        "reporter@[192.0.2.1]",
        "reporter@exämple.net",
        "re\r\nBcc: x@example.net",
        "a@b@example.net",
        "x" * 65 + "@example.net",
        "reporter@" + "a" * 250 + ".net",
        "reporter@-example.net",
    ],
)
def test_an_address_that_cannot_stand_in_a_header_is_not_answered(author: str) -> None:
    """Only plain ASCII addresses are ever written by us."""
    assert refusal(a_message(author=author)) == "author-unusable"


@pytest.mark.parametrize(
    ("author", "code"),
    [
        ("security@example.org", "author-is-alias"),
        ("PSIRT+sb-abc@Example.org", "author-is-alias"),
        ("security+sb-abc-7@example.org", "author-is-alias"),
        ("MAILER-DAEMON@mx.example", "mailer-daemon"),
        ("postmaster@example.net", "mailer-daemon"),
        ("no-reply@example.net", "robot"),
        ("noreply+123@example.net", "robot"),
        ("alerts-noreply@example.net", "robot"),
        ("Do_Not_Reply.eu@example.net", "robot"),
        ("root@example.org", "own-domain-robot"),
        ("www-data@EXAMPLE.ORG", "own-domain-robot"),
        ("root@web1.example.org", "own-domain-robot"),
        ("gitlab@example.org", "own-domain-robot"),
    ],
)
def test_an_author_who_is_no_person_is_not_answered(author: str, code: str) -> None:
    """Our own aliases, mail systems, and robots."""
    assert code == refusal(a_message(author=author))


@pytest.mark.parametrize(
    "author",
    ["root@example.net", "root@notexample.org", "noreplyman@example.net", "norep@x.example"],
)
def test_what_only_looks_like_a_robot_may_be_a_person(author: str) -> None:
    """Only for our own domains do we know that nobody reads root's mail."""
    assert None is refusal(a_message(author=author))


@pytest.mark.parametrize(
    "author",
    [
        "team+security@example.org",
        "team+security+sb-abc@example.org",
        "TEAM+Security+sb-abc-2@example.org",
        "sicher@xn--mnchen-3ya.example",
        "sicher+sb-abc@XN--MNCHEN-3YA.example",
    ],
)
def test_an_alias_of_ours_is_known_in_every_spelling(author: str) -> None:
    """One may itself have a tag, and one may have a domain in another alphabet."""
    aliases = frozenset({"team+security@example.org", "sicher@münchen.example"})
    assert refusal(a_message(author=author), aliases=aliases) == "author-is-alias"
    assert None is refusal(a_message(author="team@example.org"), aliases=aliases)


def test_a_mail_systems_reverse_path_forbids_an_answer() -> None:
    """Some put themselves there instead of the null reverse-path."""
    assert refusal(a_message(), reverse_path="MAILER-DAEMON@mx.example") == "mailer-daemon"


def test_a_sender_who_is_not_proven_is_answered_only_where_the_operator_says_so() -> None:
    """An answer to a forged sender goes to somebody who never wrote; a person's follow-up, too."""
    for mail_class in (MailClass.REPORT, MailClass.FOLLOW_UP):
        question = Question(
            a_message(), "r@example.net", mail_class, ALIASES, awaited=True, unauthenticated=True
        )
        assert reply_refusal(question) == "unauthenticated"


@pytest.mark.parametrize(
    ("mail_class", "code"),
    [
        (MailClass.OWN, "own-mail"),
        (MailClass.SPAM, "set-aside"),
        (MailClass.FOLLOW_UP, "not-a-new-case"),
        (MailClass.BOUNCE, "not-a-new-case"),
        (MailClass.AUTO_REPLY, "not-a-new-case"),
        (MailClass.REPORT, None),
        (MailClass.OTHER, None),
        (MailClass.UNDECRYPTABLE, None),
    ],
)
def test_only_new_cases_are_acknowledged(mail_class: MailClass, code: str | None) -> None:
    """Report and other are answered alike; what joins a case is not acknowledged again."""
    assert code == refusal(a_message(), mail_class=mail_class)


def test_a_follow_up_in_a_thread_that_was_never_acknowledged_may_be() -> None:
    """Only a person's follow-up: a bounce or an automatic reply is never answered."""
    for mail_class in MailClass:
        question = Question(a_message(), "r@example.net", mail_class, ALIASES, awaited=True)
        may = {MailClass.FOLLOW_UP, MailClass.REPORT, MailClass.OTHER, MailClass.UNDECRYPTABLE}
        assert (reply_refusal(question) is None) == (mail_class in may)
    listed = a_message(fields={"List-Id": "<x>"})
    question = Question(listed, "r@example.net", MailClass.FOLLOW_UP, ALIASES, awaited=True)
    assert reply_refusal(question) == "list"


def test_the_first_code_of_the_table_counts() -> None:
    """So the reason in the journal is the same for the same mail, always."""
    message = a_message(fields={"List-Id": "<x>", "Precedence": "bulk"}, author=None)
    assert refusal(message) == "list"


def test_plain_addresses_are_taken_as_they_are() -> None:
    """What RFC 5321 calls a dot-string with a domain name."""
    assert is_plain_address("o'neil+x=y@mail.example.co.uk")
    assert not is_plain_address("x@y\n")
    assert not is_plain_address("x@y..example")


def test_a_tag_does_not_hide_an_alias() -> None:
    """Addresses of ours are compared without it and in lower case."""
    assert without_tag("A+x+y@B.example") == "a@b.example"

"""Whom does an address mean?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secbridge.model.envelope import Target
from secbridge.rules.addresses import (
    AliasBook,
    BadPath,
    Mailbox,
    Tag,
    bounce_address,
    canonical,
    case_address,
    combine,
    parse_mailbox,
    parse_path,
    parse_tag,
)

ALIAS = "security@example.org"
BOOK = AliasBook(
    [ALIAS, "Team@Example.org", '"two words"@example.org', "a+b@xn--bcher-kva.example"]
)


@pytest.mark.parametrize(
    ("path", "local", "domain"),
    [
        ("<alice@example.com>", "alice", "example.com"),
        ("<@a.example:alice@example.com>", "alice", "example.com"),
        ("<@a.example,@b.example:alice@example.com>", "alice", "example.com"),
        ("<alice(Alice (the first) \\) )@example.com>", "alice", "example.com"),
        ('<"alice"@example.com>', "alice", "example.com"),
        ('<"al\\ice"@example.com>', "alice", "example.com"),
        ('<"a b"@example.com>', "a b", "example.com"),
        ('<"a@b>"@example.com>', "a@b>", "example.com"),
        ('<"a\\"b\\\\c"@example.com>', 'a"b\\c', "example.com"),
        ('<""@example.com>', "", "example.com"),
        ("<alice@[192.0.2.1]>", "alice", "[192.0.2.1]"),
        ("<alice@[IPv6:2001:db8::1]>", "alice", "[IPv6:2001:db8::1]"),
        ("<jürgen@bücher.example>", "jürgen", "bücher.example"),
        ("<a..b.@example.com>", "a..b.", "example.com"),
        ("<postmaster>", "postmaster", ""),
        ("<alice@example.com.>", "alice", "example.com."),
    ],
)
def test_a_path_names_one_mailbox(path: str, local: str, domain: str) -> None:
    """Routes and comments are dropped and quotes removed, whatever a client puts around them."""
    assert (Mailbox(local, domain), "") == parse_path(path)


def test_the_null_path_names_no_mailbox() -> None:
    """``<>`` is the sender of bounces."""
    assert parse_path("<> SIZE=1") == (None, "SIZE=1")


@pytest.mark.parametrize("path", ["<a@b.example>", '<"a b"@b.example>'])
def test_parameters_stand_behind_the_path(path: str) -> None:
    """What follows the closing bracket and a space is handed back as it is."""
    assert parse_path(f"{path}  SIZE=12 BODY=8BITMIME")[1] == "SIZE=12 BODY=8BITMIME"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "alice@example.com",
        "<alice@example.com",
        "<alice@example.com>SIZE=1",
        "<alice@>",
        "<@example.com>",
        "<@relay.example:>",
        "<a@b@c.example>",
        "<a b@example.com>",
        "<alice@exa mple.com>",
        "<alice@example..com>",
        "<alice@example.com,bob@example.com>",
        '<"alice@example.com>',
        "<alice(comment@example.com>",
        "<alice@exam\x00ple.com>",
        '<"ali\rce"@example.com>',
        "<alice(\x00)@example.com>",
        "<alice@[192.0.2.1>",
        '<alice@"example.com">',
        "<" + "(" * 2000 + ">",
    ],
)
def test_what_is_no_path_is_refused(path: str) -> None:
    """A path that RFC 5321 does not know raises BadPath, whose text holds nothing of it."""
    with pytest.raises(BadPath) as refused:
        parse_path(path)
    assert str(refused.value) == ""


@given(st.text(max_size=200))
def test_any_text_is_a_path_or_is_refused(text: str) -> None:
    """Any text becomes a mailbox that reads the same when it is written out again, or BadPath."""
    try:
        mailbox, _ = parse_path(f"<{text}>")
    except BadPath:
        return
    if mailbox is not None:
        assert (mailbox, "") == parse_path(f"<{mailbox}>")


@given(st.text(min_size=1, max_size=30).filter(str.isprintable).filter(str.isascii))
def test_any_printable_local_part_can_be_written_and_read(local: str) -> None:
    """Quoting is undone by reading."""
    assert parse_mailbox(str(Mailbox(local, "example.org"))).local == local


def test_an_address_does_not_show_in_a_repr() -> None:
    """Addresses of reporters never reach a log through a repr."""
    assert repr(Mailbox("alice", "example.com")) == "Mailbox(…)"


def test_an_address_without_a_domain_is_no_mailbox_of_a_configuration() -> None:
    """A configured address has a local part and a domain, and nothing else."""
    for address in ("postmaster", "", "a@b.example c", "a@b.example> <c@d.example"):
        with pytest.raises(BadPath):
            parse_mailbox(address)


# ── Addresses that we issue ──────────────────────────────────────────────────────────────────────


def test_we_know_our_own_case_address_again() -> None:
    """The address of a case leads back to alias and token."""
    mailbox = parse_mailbox(case_address(ALIAS, "k7m2q9"))
    assert str(mailbox) == "security+sb-k7m2q9@example.org"
    assert BOOK.match(mailbox) == Target(str(mailbox), ALIAS, "k7m2q9")


def test_we_know_our_own_envelope_sender_again() -> None:
    """The envelope sender of our mail leads back to alias, token and the number of the mail."""
    mailbox = parse_mailbox(bounce_address(ALIAS, "k7m2q9", 12))
    assert str(mailbox) == "security+sb-k7m2q9-12@example.org"
    assert BOOK.match(mailbox) == Target(str(mailbox), ALIAS, "k7m2q9", 12)


def test_an_alias_that_needs_quotes_has_case_addresses_too() -> None:
    """The tag goes inside the quotes."""
    address = case_address('"two words"@example.org', "k7")
    assert address == '"two words+sb-k7"@example.org'
    found = BOOK.match(parse_mailbox(address))
    assert found is not None
    assert (found.alias, found.token) == ('"two words"@example.org', "k7")


@pytest.mark.parametrize(
    ("local", "tag"),
    [
        ("security+sb-k7", Tag("security", "k7")),
        ("Security+SB-K7-3", Tag("security", "k7", 3)),
        ("a+b+sb-k7", Tag("a+b", "k7")),
        ("a+sb-x+sb-k7", Tag("a+sb-x", "k7")),
        ("security", None),
        ("security+foo", None),
        ("security+sb-", None),
        ("security+sb-k7-", None),
        ("security+sb-k7-x", None),
        ("security+sb-k7-1-2", None),
        ("security+sb-k7-1234567890123456", None),
        ("security+sb-k 7", None),
        ("security+sb-ключ", None),
        ("+sb-k7", None),
    ],
)
def test_only_tags_of_our_shape_are_tags(local: str, tag: Tag | None) -> None:
    """Anything else behind a plus is just another local part."""
    assert tag == parse_tag(local)


@pytest.mark.parametrize(
    ("recipient", "alias"),
    [
        ("<SECURITY@EXAMPLE.ORG>", "security@example.org"),
        ("<team@example.org.>", "team@example.org"),
        ("<a+b@bücher.example>", "a+b@xn--bcher-kva.example"),
        ("<A+B@XN--BCHER-KVA.example>", "a+b@xn--bcher-kva.example"),
        ("<Two\\ Words@example.org>", None),
        ('<"Two Words"@example.org>', '"two words"@example.org'),
        ("<security@example.com>", None),
        ("<security+foo@example.org>", None),
        ("<securit@example.org>", None),
        ("<postmaster>", None),
        ("<postmaster@example.org>", None),
    ],
)
def test_an_alias_is_known_in_any_case(recipient: str, alias: str | None) -> None:
    """Local parts and domains are compared without case; IDNA forms of a domain are one domain."""
    try:
        mailbox, _ = parse_path(recipient)
    except BadPath:
        assert alias is None
        return
    assert mailbox is not None
    found = BOOK.match(mailbox)
    assert alias == (found.alias if found else None)


def test_a_domain_that_idna_refuses_is_compared_as_it_is() -> None:
    """A strange domain is a domain that we do not know, and no error."""
    strange = Mailbox("a", "ü" * 70 + ".example")
    assert canonical(strange) == "a@" + "ü" * 70 + ".example"
    assert BOOK.match(strange) is None


def test_the_postmaster_is_an_alias_of_that_name() -> None:
    """Without a setting, ``<postmaster>`` without a domain is the alias called postmaster."""
    book = AliasBook([ALIAS, "Postmaster@example.org"])
    assert book.match(Mailbox("PostMaster", "")) == Target("PostMaster", "postmaster@example.org")


def test_the_postmaster_that_is_named_stands_for_every_domain_of_ours() -> None:
    """With a setting, postmaster is taken bare and at the domain of each alias."""
    book = AliasBook([ALIAS, "team@example.net"], postmaster="Team@example.net")
    for recipient in ("<postmaster>", "<postmaster@example.org>", "<Postmaster@example.net>"):
        mailbox, _ = parse_path(recipient)
        assert mailbox is not None
        found = book.match(mailbox)
        assert found is not None
        assert found.alias == "team@example.net"
    assert book.match(Mailbox("postmaster", "example.com")) is None


# ── One mail, several recipients ─────────────────────────────────────────────────────────────────

SECURITY = Target("security@example.org", "security@example.org")
SHOUTED = Target("SECURITY@example.org", "security@example.org")
TEAM = Target("team@example.org", "team@example.org")
CASE = Target("security+sb-k7@example.org", "security@example.org", "k7")
OTHER_CASE = Target("security+sb-m2@example.org", "security@example.org", "m2")
BOUNCE = Target("security+sb-k7-3@example.org", "security@example.org", "k7", 3)


@pytest.mark.parametrize(
    ("recipients", "deliveries", "owners"),
    [
        ([SECURITY], [SECURITY], [0]),
        ([SECURITY, TEAM], [SECURITY, TEAM], [0, 1]),
        ([SECURITY, TEAM, SHOUTED], [SECURITY, TEAM], [0, 1, 0]),
        ([SECURITY, CASE], [CASE], [0, 0]),
        ([CASE, SECURITY, TEAM], [CASE, TEAM], [0, 0, 1]),
        ([OTHER_CASE, SECURITY, CASE], [OTHER_CASE, CASE], [0, 0, 1]),
        ([BOUNCE, CASE], [BOUNCE, CASE], [0, 1]),
    ],
)
def test_recipients_become_deliveries(
    recipients: list[Target], deliveries: list[Target], owners: list[int]
) -> None:
    """One delivery for each alias or case, and every recipient knows which one is its own."""
    assert (deliveries, owners) == combine(recipients)

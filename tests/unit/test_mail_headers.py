"""Headers are read in linear time, and only what they clearly say is believed."""

from __future__ import annotations

import base64

import pytest

from secbridge.mail.addresses import addr_spec, mailboxes
from secbridge.mail.headers import (
    Authors,
    HeaderBlock,
    authors,
    autocrypt,
    decode_words,
    header_facts,
    media_type,
    parameters,
    split_header,
    unstructured,
)


def split(raw: bytes, most: int = 1 << 18) -> HeaderBlock:
    """Return the header of these bytes."""
    return split_header(raw, 0, len(raw), most=most)


def author_of(*values: str) -> Authors:
    """Return the authors of a mail with these From fields."""
    return authors(split("".join(f"From: {value}\n" for value in values).encode() + b"\n"))


def test_a_header_ends_at_the_empty_line() -> None:
    """The body begins behind the first empty line, whatever the line ends are."""
    for end in (b"\n", b"\r\n"):
        raw = end.join([b"A: 1", b"B: 2", b" 3", b"", b"C: no field", b""])
        block = split(raw)
        assert [name for name, _ in block.fields] == ["a", "b"]
        assert block.first("b") == "2 3"
        assert raw[block.body :].startswith(b"C: no field")


def test_a_header_without_an_empty_line_ends_before_the_first_line_that_is_no_field() -> None:
    """A sender who forgot the empty line loses no line of the text."""
    raw = b"Subject: x\nthis is the body\nA: b\n"
    assert raw[split(raw).body :] == b"this is the body\nA: b\n"


def test_a_header_that_is_too_long_is_cut_and_says_so() -> None:
    """What stands beyond the bound is not read, and the body still begins where it begins."""
    raw = b"Subject: x\n" + b"X-Long: " + b"a" * 5000 + b"\nFrom: a@b.org\n\nbody"
    block = split(raw, most=1000)
    assert block.cut
    assert raw[block.body :] == b"body"
    assert Authors() == authors(block)


def test_encoded_words_are_decoded_and_split_characters_are_joined() -> None:
    """White space between encoded words vanishes, and a character may lie across two of them."""
    assert decode_words("=?utf-8?q?a=20b?= =?utf-8?b?Yw==?= d") == "a bc d"
    assert decode_words("=?utf-8?q?=C3?= =?utf-8?q?=A4?=") == "ä"
    assert decode_words("=?no-such?q?=E4?=") == "ä"
    assert decode_words("=?utf-8?b?!!!?= =? ?=") == " =? ?="


def test_a_subject_holds_no_control_characters() -> None:
    """A subject cannot break a line of whoever shows it."""
    assert unstructured(b"a\x00b\x1b[31m =?utf-8?q?c=0D=0Ad?=") == "a b [31m c d"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('text/plain; charset="utf-8"', ("text/plain", {"charset": "utf-8"})),
        ("TEXT/Plain;CHARSET=UTF-8", ("text/plain", {"charset": "UTF-8"})),
        ('x/y; name="a;b\\"c"', ("x/y", {"name": 'a;b"c'})),
        ("x/y; name*=utf-8''%C3%A4.txt", ("x/y", {"name": "ä.txt"})),
        ("x/y; name*0=ab; name*1=cd", ("x/y", {"name": "abcd"})),
        ("x/y; name*1*=%A4; name*0*=utf-8''%C3", ("x/y", {"name": "ä"})),
        ("x/y; a=1; a=2", ("x/y", {"a": "1"})),
        ("x/y (comment); a=1 (other)", ("x/y", {"a": "1"})),
        ("multipart/mixed boundary=b", ("multipart/mixed", {"boundary": "b"})),
        ("nonsense", ("text/plain", {})),
        ("text", ("text/plain", {})),
        ("", ("text/plain", {})),
        ('x/y; name="never closed; a=1', ("x/y", {"name": "never closed; a=1"})),
    ],
)
def test_content_types_are_read(value: str, expected: tuple[str, dict[str, str]]) -> None:
    """Quotes, comments, charsets, continuations and broken forms give what they mean."""
    assert media_type(value, "text/plain") == expected


def test_ten_thousand_parameters_are_read() -> None:
    """A long list of parameters is read to its end."""
    value = "x/y" + "".join(f"; a{number}=1" for number in range(10_000)) + '; boundary="b"'
    assert parameters(value)[1]["boundary"] == "b"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("alice@example.org", ["alice@example.org"]),
        ("Alice <alice@Example.ORG>", ["alice@example.org"]),
        ('"mallory@evil.example" <alice@example.org>', ["alice@example.org"]),
        ("mallory@evil.example <alice@example.org>", ["alice@example.org"]),
        ("=?utf-8?q?mallory=40evil=2Eexample?= <alice@example.org>", ["alice@example.org"]),
        ("Alice (mallory@evil.example) <alice@example.org>", ["alice@example.org"]),
        ('"Doe, Alice" <alice@example.org>', ["alice@example.org"]),
        ('"alice"@example.org', ["alice@example.org"]),
        ('"a b"@example.org', ['"a b"@example.org']),
        ("<@relay.example:alice@example.org>", ["alice@example.org"]),
        ("alice@[192.0.2.1]", ["alice@[192.0.2.1]"]),
        ("älice@exämple.org", ["älice@exämple.org"]),
    ],
)
def test_one_clear_mailbox_is_the_author(value: str, expected: list[str]) -> None:
    """The addr-spec counts; display names and comments never do, whatever they hold."""
    assert mailboxes(value) == (expected, True)


@pytest.mark.parametrize(
    "value",
    [
        "alice@example.org, bob@example.org",
        "<alice@example.org> <bob@example.org>",
        "alice@example.org bob@example.org",
        "team: alice@example.org;",
        "Alice <alice@example.org> bob",
        "Alice <alice@example.org",
        "Alice alice@example.org",
        "<>",
        "Alice",
        "",
        "alice@@example.org",
        "=?utf-8?q?alice=40example=2Eorg?=",
        "alice@example.org (open",
    ],
)
def test_whoever_is_not_clearly_one_author_is_none(value: str) -> None:
    """Lists, groups, stray text and broken addresses have no single author."""
    assert author_of(value).single is None


def test_two_from_fields_have_no_single_author_but_both_addresses() -> None:
    """A second From makes the author unclear, even when it repeats the first."""
    assert author_of("a@x.org", "b@x.org") == Authors(("a@x.org", "b@x.org"), None)
    assert author_of("a@x.org", "a@x.org").single is None


def test_a_long_from_does_not_hide_its_second_address() -> None:
    """A From longer than what is read is not clear."""
    value = '"' + "x" * 40_000 + '" <a@x.org>, b@x.org'
    assert author_of(value).single is None


def test_addr_specs_are_refused_when_they_hold_anything_odd() -> None:
    """Control characters, blanks and brackets are no address."""
    for odd in ("a b@x.org", "a@x.org\n", "a@x org", "a<b@x.org", "@x.org", "a@", "a..b@x.org"):
        found = addr_spec(odd)
        assert found in {None, "a@x.org"}


def test_header_facts_keep_only_what_rules_ask_for() -> None:
    """Fields that no rule names are not kept, and a content type loses its other parameters."""
    raw = (
        b"From: a@x.org\nX-Secret: 1\nX-Spam-Flag: YES\nList-Id: <l.x.org>\n"
        b"Content-Type: multipart/report; boundary=b; report-type=Delivery-Status\n"
        b"Message-ID: <id@x.org>\nIn-Reply-To: text <a@b>\nReferences: <a@b>\n <c@d> junk\n\n"
    )
    facts = header_facts(split(raw))
    assert sorted(facts.fields) == ["content-type", "from", "list-id", "x-spam-flag"]
    assert facts.first("Content-Type") == "multipart/report; report-type=delivery-status"
    assert (facts.message_id, facts.in_reply_to) == ("<id@x.org>", ("<a@b>",))
    assert facts.references == ("<a@b>", "<c@d>")
    assert header_facts(split(raw), more_fields={"x-secret"}).first("X-Secret") == "1"


def test_of_very_many_references_the_first_and_the_last_are_kept() -> None:
    """A thread is found by its root and by its newest mails."""
    ids = [f"<{number}@x>" for number in range(500)]
    facts = header_facts(split(b"References: " + " ".join(ids).encode() + b"\n\n"))
    assert (len(facts.references), facts.references[0], facts.references[-1]) == (
        100, "<0@x>", "<499@x>",
    )  # fmt: skip


def test_fifty_thousand_recipients_are_cut_between_addresses() -> None:
    """A list of recipients that is cut ends with a whole address."""
    value = ", ".join(f"a{number}@example.org" for number in range(50_000)).encode()
    kept = header_facts(split(b"To: " + value + b"\n\n", most=4 << 20)).first("to") or ""
    assert kept.endswith("@example.org")
    assert 10_000 < len(kept) < 40_000


def test_autocrypt_counts_once_and_for_the_author_only() -> None:
    """Another's address, two fields or an unknown critical attribute give no key."""
    key = base64.b64encode(b"a key").decode()
    field = f"Autocrypt: addr=a@x.org; prefer-encrypt=mutual; keydata=\n {key[:4]}\n {key[4:]}\n"

    def found(raw: str) -> bytes | None:
        return autocrypt(split(raw.encode() + b"\n"), "a@x.org", most=1000)

    assert found(field) == b"a key"
    assert found(field.replace("a@x.org", "b@x.org")) is None
    assert found(field * 2) is None
    assert found(field.replace("addr=", "odd=1; addr=")) is None
    assert found(field.replace("addr=", "_odd=1; addr=")) == b"a key"
    assert found(field.replace("keydata=", "keydata=!")) is None

"""What does our relay say of a sender?  Fields as mail systems write them, and as attackers do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.messages import a_message

from secbridge.model.message import (
    Coverage,
    Headers,
    Message,
    Protection,
    Signature,
    SignatureVerdict,
)
from secbridge.rules.authentication import AuthenticationResults, is_unproven, parse

US = "mx.example.org"

FIELDS = [
    # Postfix with OpenDMARC
    (
        "mx.example.org; dmarc=fail (p=none dis=none) header.from=bank.example",
        {"dmarc": "fail"},
    ),
    # rspamd
    (
        (
            'mx.example.org; dkim=none; dmarc=fail reason="No valid SPF, No valid DKIM" '
            "header.from=bank.example (policy=reject); spf=softfail (mx.example.org: 192.0.2.1 is "
            'neither permitted nor denied by domain of "x;dmarc=pass"@bank.example) '
            'smtp.mailfrom="x;dmarc=pass"@bank.example'
        ),
        {"dkim": "none", "dmarc": "fail", "spf": "softfail"},
    ),
    # Gmail, with base64 that holds our signs
    (
        (
            "mx.google.com;       dkim=pass header.i=@a.example header.s=s1 header.b=H/eT+x=;     "
            "spf=pass (google.com: domain of r@a.example designates 192.0.2.1 as permitted sender) "
            "smtp.mailfrom=r@a.example;       dmarc=pass (p=REJECT sp=REJECT dis=NONE) "
            "header.from=a.example"
        ),
        {"dkim": "pass", "spf": "pass", "dmarc": "pass"},
    ),
    # Microsoft, which names no authserv-id: the first clause is a result
    (
        "spf=fail (sender IP is 192.0.2.1) smtp.mailfrom=a.example; dmarc=fail action=none",
        None,
    ),
    # Stalwart, and blanks, comments and versions wherever RFC 8601 allows them
    (
        (
            "(a (nested\\) comment)) MX.Example.ORG (x) 1 ; (y) DMARC (z) / 1 = (q) Fail (r) "
            'reason = "a \\" ; dmarc=pass" policy . x = y'
        ),
        {"dmarc": "fail"},
    ),
    ("mx.example.org; none", {}),
    ('"mx.example.org"; dmarc=fail', {"dmarc": "fail"}),
    ("mx.example.org", {}),
    ("", None),
    (";;;", None),
    # An address with a bracket that nobody closes hides nothing
    (
        (
            "mx.example.org; spf=pass smtp.mailfrom=o(neil@a.example; dmarc=fail (p=none) "
            "header.from=bank.example"
        ),
        {"spf": "pass", "dmarc": "fail"},
    ),
    (
        'mx.example.org; spf=pass smtp.mailfrom=o"neil@a.example; dmarc=fail',
        {"spf": "pass", "dmarc": "fail"},
    ),
    ("mx.example.org; spf=pass smtp.helo=) \\; dmarc=fail", {"spf": "pass", "dmarc": "fail"}),
    ("mx.example.org; =fail; dmarc; dmarc=; /=; dmarc/=fail", {}),
]


@pytest.mark.parametrize(("value", "expected"), FIELDS)
def test_a_field_is_read_as_its_standard_says(value: str, expected: dict[str, str] | None) -> None:
    """Comments, quoted strings and properties are none of its results (RFC 8601 section 2.2)."""
    found = parse(value)
    assert (None if found is None else dict(found.results)) == expected


def test_its_author_may_stand_in_quotation_marks() -> None:
    """RFC 2045 has two spellings of one value."""
    assert parse('"mx.example.org" 1; none') == AuthenticationResults("mx.example.org")


@pytest.mark.parametrize("value", ["(" * 4000, '"' * 4000, "\\" * 4000, "=;/" * 1300, "a" * 4000])
def test_a_field_made_to_be_slow_is_read_all_the_same(value: str) -> None:
    """A field has 4,096 octets at most, so the time limit of the tests is never near."""
    assert parse(f"{US}; {value}; dmarc=fail") is not None


def mail(*values: str, signature: Signature | None = None) -> Message:
    """Return a mail with these fields, the topmost first."""
    signatures = (signature,) if signature else ()
    message = a_message(protection=Protection.SIGNED, signatures=signatures)
    fields = {"authentication-results": values}
    return replace(message, headers=Headers(message_id="<a@b>", fields=fields))


FAIL, PASS = f"{US}; dmarc=fail header.from=a.example", f"{US}; dmarc=pass"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([FAIL], True),
        ([FAIL.upper()], True),
        ([PASS], False),
        ([], False),
        ([f"{US}; dmarc=none"], False),
        ([f"{US}; dmarc=temperror"], False),
        ([f"{US}; dmarc=permerror"], False),
        ([f"{US}; spf=fail; dkim=fail"], False),
        (["mx.elsewhere.example; dmarc=fail"], False),
        ([FAIL, PASS], True),
        ([PASS, FAIL], False),
        ([f"{US}; spf=pass", FAIL], True),
        (["mx.elsewhere.example; dmarc=pass", FAIL], True),
        ([f"{US}; dmarc=pass; dmarc=fail"], True),
    ],
)
def test_only_the_last_word_of_our_own_relay_counts(values: list[str], expected: bool) -> None:
    """What stands below it came with the mail, and what others say is theirs."""
    assert expected is is_unproven(mail(*values), "MX.example.org".lower())
    assert expected is is_unproven(mail(*values), "MX.Example.Org")


def test_without_the_name_of_a_relay_nobody_is_believed() -> None:
    """Whoever sends a mail can write such a field."""
    assert not is_unproven(mail(FAIL), "")
    assert not is_unproven(mail("; dmarc=fail"), "")


@pytest.mark.parametrize(
    ("signature", "proven"),
    [
        (Signature(SignatureVerdict.GOOD, "F" * 40, Coverage.WHOLE, True, True), True),
        (Signature(SignatureVerdict.GOOD, "F" * 40, Coverage.WHOLE, True, False), False),
        (Signature(SignatureVerdict.GOOD, "F" * 40, Coverage.WHOLE, True, None), False),
        (Signature(SignatureVerdict.GOOD, "F" * 40, Coverage.PART, True, True), False),
        (Signature(SignatureVerdict.BAD, "F" * 40, Coverage.WHOLE, True, True), False),
    ],
)
def test_the_key_that_is_bound_to_the_reporter_proves_more(
    signature: Signature, proven: bool
) -> None:
    """A forwarded mail fails DMARC, and its signature is as good as before."""
    assert proven is not is_unproven(mail(FAIL, signature=signature), US)


@given(st.text(alphabet='abc"();=/\\ \tdmarcfail', max_size=60))
def test_nothing_that_a_sender_brings_into_the_field_hides_what_follows(before: str) -> None:
    """An address that a relay writes down as it came cannot swallow the relay's own words."""
    found = parse(f"{US}; spf=pass smtp.mailfrom={before}; dmarc=fail")
    assert found is not None
    assert "fail" in found.of("dmarc")

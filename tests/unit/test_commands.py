"""Is a comment a command?  Only when its first line says so, and only what we know."""

from __future__ import annotations

import pytest

from secbridge.rules.commands import (
    CLOSING,
    FOR_SIGNS,
    LETTERS,
    LONGEST_VERSION,
    REJECTION_CLASSES,
    STATUSES,
    USAGES,
    Command,
    CommandName,
    Mistake,
    MistakeKind,
    parse,
    sign,
)

FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
ACCEPT = Command(CommandName.KEY_ACCEPT, FINGERPRINT)
REASON = Command(CommandName.REJECT, "out-of-scope", "Not ours.\nSorry.")


@pytest.mark.parametrize(
    "text",
    [
        f"sb: key accept {FINGERPRINT}",
        f"SB: Key Accept {FINGERPRINT}",
        f"  sb:key accept   {FINGERPRINT}  ",
        f"`sb: key accept {FINGERPRINT}`",
        f"sb: `key accept {FINGERPRINT}`",
        f"sb: key accept `{FINGERPRINT}`",
        f"`sb:` key accept {FINGERPRINT}",
        f"{{{{sb: key accept {FINGERPRINT}}}}}",
        f"sb\\: key accept {FINGERPRINT}",
        f"sb:\u00a0key\u00a0accept\u00a0{FINGERPRINT}",
        f"\ufeffsb: key accept {FINGERPRINT}\r\n",
    ],
)
def test_a_command_is_known_however_it_is_typed(text: str) -> None:
    """Case, blanks, escapes and code spans are a matter of taste and of the tracker's editor."""
    assert ACCEPT == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "key accept me",
        f"Please type\nsb: key accept {FINGERPRINT}",
        f"> sb: key accept {FINGERPRINT}",
        f"    \nsb: key accept {FINGERPRINT}",
        f"```\nsb: key accept {FINGERPRINT}\n```",
        "sb",
        "@sb: help",
        "the sb: prefix is for the robot",
        "/reply Hello",
    ],
)
def test_what_does_not_begin_with_the_mark_is_no_command(text: str) -> None:
    """A quotation, an explanation, or a second line never acts."""
    assert parse(text) is None


@pytest.mark.parametrize(
    ("typed", "name", "argument", "text"),
    [
        ("reply Hello.", CommandName.REPLY, "", "Hello."),
        ("reply Hi.\n\nWe look.\n", CommandName.REPLY, "", "Hi.\n\nWe look."),
        ("reject known-issue It is\n\n#4.", CommandName.REJECT, "known-issue", "It is\n\n#4."),
        ("fixed 2.4\n\nThanks.", CommandName.FIXED, "2.4", "Thanks."),
        ("reply: Hello.", CommandName.REPLY, "", "Hello."),
        ("reply\n\n    indented\n\nend \n", CommandName.REPLY, "", "    indented\n\nend"),
        ("reply use `a` or `b`", CommandName.REPLY, "", "use `a` or `b`"),
        ("reply\r\none\rtwo", CommandName.REPLY, "", "one\ntwo"),
        ("need\\-info Which?", CommandName.NEED_INFO, "", "Which?"),
        ("reject Out-Of-Scope:\nNo.", CommandName.REJECT, "out-of-scope", "No."),
        ("fixed 2.4.1 and 2.3.9\nThanks.", CommandName.FIXED, "2.4.1 and 2.3.9", "Thanks."),
        ("disclosed <https://a.example/1>", CommandName.DISCLOSED, "https://a.example/1", ""),
        ("disclosed [x|https://a.example] So", CommandName.DISCLOSED, "https://a.example", "So"),
        ("duplicate-of \\#12.", CommandName.DUPLICATE_OF, "#12", ""),
        ("reporter [r@a.example|mailto:r@a.example]", CommandName.REPORTER, "r@a.example", ""),
        ("reporter Rita <r@a.example>", CommandName.REPORTER, "r@a.example", ""),
        ("take\nI have seen it before.", CommandName.TAKE, "", "I have seen it before."),
        ("status please", CommandName.STATUS, "", ""),
        ("", CommandName.HELP, "", ""),
        ("help\n\none\n\ntwo\n", CommandName.HELP, "", "one\n\ntwo"),
    ],
)
def test_what_stands_behind_a_command_is_its_argument_and_its_text(
    typed: str, name: CommandName, argument: str, text: str
) -> None:
    """The text keeps its lines; an argument is read through what an editor makes of it."""
    assert Command(name, argument, text) == parse(f"sb: {typed}")


def test_a_code_span_around_the_mark_leaves_those_of_the_text() -> None:
    """What is typed as code in the text is code there."""
    expected = Command(CommandName.REPLY, text="use `a`")
    assert expected == parse("`sb:` reply use `a`")


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("sb: key acept x", MistakeKind.UNKNOWN, None),
        ("sb: replying is fun", MistakeKind.UNKNOWN, None),
        ("sb: key accept", MistakeKind.NO_ARGUMENT, CommandName.KEY_ACCEPT),
        ("sb: reply", MistakeKind.NO_TEXT, CommandName.REPLY),
        ("sb: need-info \n \n", MistakeKind.NO_TEXT, CommandName.NEED_INFO),
        ("sb: reject", MistakeKind.NO_ARGUMENT, CommandName.REJECT),
        ("sb: reject because", MistakeKind.NO_CLASS, CommandName.REJECT),
        ("sb: reject known-issue", MistakeKind.NO_TEXT, CommandName.REJECT),
        ("sb: fixed", MistakeKind.NO_ARGUMENT, CommandName.FIXED),
        ("sb: fixed " + "1" * (LONGEST_VERSION + 1), MistakeKind.NO_VERSION, CommandName.FIXED),
        ("sb: fixed 1\u202e2", MistakeKind.NO_VERSION, CommandName.FIXED),
        ("sb: disclosed", MistakeKind.NO_ARGUMENT, CommandName.DISCLOSED),
        ("sb: disclosed soon", MistakeKind.NO_URL, CommandName.DISCLOSED),
        ("sb: disclosed javascript:alert(1)", MistakeKind.NO_URL, CommandName.DISCLOSED),
        ("sb: duplicate-of", MistakeKind.NO_ARGUMENT, CommandName.DUPLICATE_OF),
        ("sb: reporter", MistakeKind.NO_ARGUMENT, CommandName.REPORTER),
        ("sb: reporter rita", MistakeKind.NO_ADDRESS, CommandName.REPORTER),
        ("sb: reporter a@a.example b@a.example", MistakeKind.NO_ADDRESS, CommandName.REPORTER),
        ("sb: reporter -oProxy@a.example", MistakeKind.NO_ADDRESS, CommandName.REPORTER),
        ("sb: hold your horses", MistakeKind.TOO_MUCH, CommandName.HOLD),
        ("sb: preview", MistakeKind.NO_ARGUMENT, CommandName.PREVIEW),
        ("sb: preview hold", MistakeKind.NO_LETTER, CommandName.PREVIEW),
        ("sb: preview reject out-of-scope", MistakeKind.NO_TEXT, CommandName.REJECT),
    ],
)
def test_what_we_do_not_understand_is_a_mistake_and_not_silence(
    text: str, kind: MistakeKind, name: CommandName | None
) -> None:
    """A typo must not look like something that was done, and the answer says how it is typed."""
    assert Mistake(kind, name) == parse(text)


def test_a_preview_holds_the_command_that_it_shows() -> None:
    """With everything that the command itself would have."""
    shown = parse("sb: preview reject out-of-scope Not ours.\nSorry.")
    assert Command(CommandName.PREVIEW, previewed=REASON) == shown


def test_a_slash_is_a_mark_where_it_may_be_and_only_for_words_of_ours() -> None:
    """Other programs listen to slashes as well: what we do not know is theirs."""
    assert REASON == parse("/reject out-of-scope Not ours.\nSorry.", slash=True)
    assert ACCEPT == parse(f"/key accept {FINGERPRINT}", slash=True)
    assert Mistake(MistakeKind.NO_TEXT, CommandName.REPLY) == parse("/reply", slash=True)
    for other in (
        "/close",
        "/key",
        "/etc/passwd is readable",
        "see /reply",
        "/ reply x",
        "`/hold`",
    ):
        assert parse(other, slash=True) is None, other


def test_another_mark_is_the_only_one_then() -> None:
    """Where the operator chose another mark, the default one means nothing."""
    assert Command(CommandName.HELP) == parse("robot: help", mark="robot:")
    assert parse("sb: help", mark="robot:") is None


def test_every_command_says_how_it_is_typed() -> None:
    """The help of the issue lists them all, each with an example that the parser takes."""
    assert set(CommandName) == set(USAGES)
    for name, usage in USAGES.items():
        found = parse(f"sb: {usage.example}")
        assert isinstance(found, Command), usage
        assert name == found.name
        assert usage.form.startswith(name.value)


def test_every_class_of_a_rejection_is_taken() -> None:
    """Those that the texts for reporters have words for."""
    for name in REJECTION_CLASSES:
        assert Command(CommandName.REJECT, name, "So.") == parse(f"sb: reject {name} So.")


def test_a_label_stands_for_what_says_the_same_of_every_case() -> None:
    """Who takes it, which key counts, or what it is a duplicate of, only a person can say."""
    assert REASON == sign("reject out-of-scope Not ours.\nSorry.")
    assert Mistake(MistakeKind.NO_TEXT, CommandName.REJECT) == sign("reject out-of-scope")
    assert Mistake(MistakeKind.UNKNOWN) == sign("")
    refused = [
        name
        for name, usage in USAGES.items()
        if sign(usage.example) == Mistake(MistakeKind.NO_SIGN, name)
    ]
    assert set(CommandName) - FOR_SIGNS == set(refused)


def test_what_closes_an_issue_says_where_its_case_stands() -> None:
    """No issue is closed by us without a reason that the status shows."""
    assert STATUSES.keys() >= CLOSING
    assert set(LETTERS) - {CommandName.REPLY} <= STATUSES.keys()

"""The subject that was protected is the real one, and copies of the header are not text."""

from __future__ import annotations

from tests.support.keys import Keys
from tests.support.mails import crlf, encrypted, entity, mail, multipart, signed, text
from tests.support.opening import Desk

CIPHER = '; hp="cipher"'
INSIDE = "Subject: The real subject\nFrom: other@example.net\nHP-Outer: Subject: [...]\n"
SUBJECTS = ("The real subject", "[...]")


async def subjects_and_text(
    desk: Desk, keys: Keys, inner: bytes
) -> tuple[tuple[str, str], str, tuple[str, ...]]:
    """Return both subjects, the text and the authors of a mail with this within its ciphertext."""
    raw = mail(encrypted(keys.reporter.encrypt(inner, keys.role_fpr)))
    message = await desk.open(raw)
    return (message.subject, message.outer_subject), message.text, message.authors


async def test_rfc_9788_headers_are_read(stranger_desk: Desk, keys: Keys) -> None:
    """``hp="cipher"``: the inner subject wins, the author stays the outer one."""
    inner = text("Words.\n", params=CIPHER, extra=INSIDE)
    found = await subjects_and_text(stranger_desk, keys, inner)
    assert found == (SUBJECTS, "Words.\n", ("reporter@example.net",))


async def test_a_legacy_display_is_no_text(stranger_desk: Desk, keys: Keys) -> None:
    """The copy of the header for old programs is dropped from text and HTML, when it is a copy."""
    plain = text(
        "Subject: The real subject\nFrom: other@example.net\n\nWords.\n",
        params='; hp-legacy-display="1"',
    )
    html = entity(
        'text/html; hp-legacy-display="1"',
        '<div class="header-protection-legacy-display"><pre>Subject: The real subject</pre></div>'
        "<p>Words.</p>",
    )
    for part in (plain, html):
        inner = multipart("mixed", [part], params=CIPHER, extra=INSIDE)
        found = await subjects_and_text(stranger_desk, keys, inner)
        assert found[:2] == (SUBJECTS, "Words.\n")


async def test_words_that_only_look_like_a_legacy_display_are_kept(
    stranger_desk: Desk, keys: Keys
) -> None:
    """Another subject, or a line that is no field, is somebody's text."""
    for shown in (
        "Subject: Another\n\nWords.\n",
        "Subject: The real subject\nGET / HTTP/1.1\n\nx\n",
    ):
        part = text(shown, params='; hp-legacy-display="1"')
        inner = multipart("mixed", [part], params=CIPHER, extra=INSIDE)
        found = await subjects_and_text(stranger_desk, keys, inner)
        assert found[:2] == (SUBJECTS, shown)


async def test_the_draft_form_is_read(stranger_desk: Desk, keys: Keys) -> None:
    """``protected-headers="v1"`` with its ``text/rfc822-headers`` part."""
    v1 = '; protected-headers="v1"'
    legacy = entity(f"text/rfc822-headers{v1}", "Subject: The real subject\n")
    inner = multipart("mixed", [legacy, text("Words.\n")], params=v1, extra=INSIDE)
    found = await subjects_and_text(stranger_desk, keys, inner)
    assert found[:2] == (SUBJECTS, "Words.\n")


async def test_the_payload_of_a_signed_mail_within_is_meant(
    stranger_desk: Desk, keys: Keys
) -> None:
    """Encapsulated: the protected header is that of the signed part."""
    part = text("Words.\n", params=CIPHER, extra=INSIDE)
    inner = signed(part, keys.reporter.sign_detached(part, keys.reporter_fpr))
    found = await subjects_and_text(stranger_desk, keys, inner)
    assert found[:2] == (SUBJECTS, "Words.\n")


async def test_a_signed_clear_mail_has_its_subject_from_inside(
    known_desk: Desk, keys: Keys
) -> None:
    """``hp="clear"`` under a signature counts; under a bad one it does not."""
    part = text("Words.\n", params='; hp="clear"', extra="Subject: The signed subject\n")
    raw = mail(signed(part, keys.reporter.sign_detached(part, keys.reporter_fpr)), subject="outer")
    assert (await known_desk.open(raw)).subject == "The signed subject"
    assert (await known_desk.open(raw.replace(b"Words", b"Worms"))).subject == "outer"


async def test_what_is_not_the_root_of_a_layer_has_no_protected_headers(
    stranger_desk: Desk, keys: Keys
) -> None:
    """A part deep inside, an attached message or an unprotected mail cannot set the subject."""
    part = text("Words.\n", params=CIPHER, extra=INSIDE)
    attached = entity("message/rfc822", crlf(INSIDE) + text("Words.\n", params=CIPHER))
    for inner in (multipart("mixed", [part]), multipart("mixed", [text("x"), attached])):
        found = await subjects_and_text(stranger_desk, keys, inner)
        assert found[0] == ("[...]", "[...]")
    assert (await stranger_desk.open(mail(part))).subject == "[...]"


async def test_a_subject_that_was_encrypted_with_the_mail_needs_no_parameter(
    stranger_desk: Desk, keys: Keys
) -> None:
    """Programs older than the drafts hide it so (Memory Hole), and it stands nowhere else."""
    inner = text("Words.\n", extra=INSIDE)
    assert (await subjects_and_text(stranger_desk, keys, inner))[0] == SUBJECTS


async def test_without_the_parameter_a_subject_under_a_signature_is_not_the_subject(
    known_desk: Desk, keys: Keys
) -> None:
    """A header field in a signed part that does not claim protection is just a part's field."""
    part = text("Words.\n", extra="Subject: No\n")
    raw = mail(signed(part, keys.reporter.sign_detached(part, keys.reporter_fpr)), subject="outer")
    assert (await known_desk.open(raw)).subject == "outer"


async def test_a_subject_that_says_it_is_protected_comes_first(
    stranger_desk: Desk, keys: Keys
) -> None:
    """Of a subject without the parameter around one that has it, the latter is the real one."""
    part = text("Words.\n", params=CIPHER, extra=INSIDE)
    inner = crlf("Subject: Around\n") + signed(
        part, keys.reporter.sign_detached(part, keys.reporter_fpr)
    )
    assert (await subjects_and_text(stranger_desk, keys, inner))[0] == SUBJECTS

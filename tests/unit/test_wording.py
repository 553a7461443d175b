"""Which words do we send?  Every text in every language, the operator's own, what is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from tests.support.messages import an_alias

from secbridge.errors import ConfigError
from secbridge.model.alias import Alias
from secbridge.model.reply import LetterFacts, ReplyKind, ReplyText
from secbridge.outbound import TemplateWording
from secbridge.outbound.wording import ENDING, NAMES, SAMPLE_CASE, SAMPLE_FACTS, TEMPLATES
from secbridge.rules import clinic
from secbridge.rules.commands import REJECTION_CLASSES
from secbridge.rules.leaving import cleaned
from secbridge.rules.letters import is_fit_subject
from secbridge.rules.replies import KEY_PROBLEMS

ALIAS = an_alias()
PACKAGED = TemplateWording([ALIAS])
LETTERS = [kind for kind in ReplyKind if kind.is_letter]
SHIPPED = ["en", "de"]


def written(
    kind: ReplyKind,
    language: str = "en",
    *,
    encrypted: bool = False,
    wording: TemplateWording = PACKAGED,
    alias: Alias = ALIAS,
    facts: LetterFacts = SAMPLE_FACTS,
    code: str = "expired",
) -> ReplyText:
    """Return one text, with a code where there has to be one."""
    return wording.write(
        kind,
        alias=alias,
        case_id=SAMPLE_CASE,
        encrypted=encrypted,
        code=code if kind is ReplyKind.NOTICE_KEY_UNUSABLE else None,
        warnings=tuple(clinic.WARNINGS) if encrypted else (),
        language=language,
        facts=facts,
    )


def own(folder: Path, **texts: str) -> TemplateWording:
    """Return the wording of an operator with texts; ``__`` stands for a dot, ``_`` for ``-``."""
    for name, text in texts.items():
        file = folder / f"{name.replace('__', '.').replace('_', '-')}.j2"
        file.write_text(text, encoding="utf-8")
    return TemplateWording([own_alias(folder)])


def own_alias(folder: Path, language: str = "en") -> Alias:
    """Return the alias of that operator."""
    return replace(ALIAS, templates=str(folder), language=language)


# ── Ours ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("language", SHIPPED)
@pytest.mark.parametrize(("kind", "encrypted"), list(TEMPLATES))
def test_every_text_names_the_case_and_can_be_carried(
    kind: ReplyKind, encrypted: bool, language: str
) -> None:
    """In subject and body, in lines that no mail program breaks, and without a gap."""
    text = written(kind, language, encrypted=encrypted)
    assert SAMPLE_CASE in text.body
    assert is_fit_subject(text.subject, SAMPLE_CASE)
    assert max(map(len, text.body.splitlines())) <= 76
    assert "\n\n\n" not in text.body


@pytest.mark.parametrize("kind", [kind for kind in ReplyKind if not kind.is_letter])
@pytest.mark.parametrize("language", SHIPPED)
def test_what_a_machine_sends_to_a_reporter_says_the_fingerprint(
    kind: ReplyKind, language: str
) -> None:
    """So that the key can be compared; a claim goes to the team alone."""
    fingerprint = "AAAA AAAA AAAA AAAA AAAA  AAAA AAAA AAAA AAAA AAAA"
    assert (fingerprint in written(kind, language).body) is (kind is not ReplyKind.CLAIM)


@pytest.mark.parametrize("name", NAMES)
def test_every_text_is_there_in_german(name: str) -> None:
    """It is another text than the English one, whoever asks for it."""
    found = {text.file for text in PACKAGED.texts_of(ALIAS)}
    assert {f"{name}.j2", f"{name}.de.j2"} <= found
    kind, encrypted = next(key for key, file in TEMPLATES.items() if file == f"{name}{ENDING}")
    english, german = (written(kind, language, encrypted=encrypted) for language in SHIPPED)
    assert english.subject != german.subject
    assert not set(english.body.splitlines()) & set(german.body.splitlines()) & ENGLISH


ENGLISH = {"Hello,", "What happens next:", "On behalf of the team", "What you can do:"}


@pytest.mark.parametrize("code", KEY_PROBLEMS)
@pytest.mark.parametrize("language", SHIPPED)
def test_every_problem_of_a_key_has_words_and_a_mend(code: str, language: str) -> None:
    """In each language, and they fit into a mail without being broken."""
    text = written(ReplyKind.NOTICE_KEY_UNUSABLE, language, code=code)
    assert f"({code})" in text.body
    assert max(map(len, text.body.splitlines())) <= 76


@pytest.mark.parametrize("language", SHIPPED)
def test_every_class_of_a_rejection_has_words_of_its_own(language: str) -> None:
    """Beside the reason that a person has to give."""
    bodies = {
        written(ReplyKind.REJECTION, language, facts=replace(SAMPLE_FACTS, reason_class=one)).body
        for one in REJECTION_CLASSES
    }
    assert len(bodies) == len(REJECTION_CLASSES)


@pytest.mark.parametrize("language", SHIPPED)
@pytest.mark.parametrize("kind", LETTERS)
def test_nothing_would_be_cleaned_out_of_our_own_words(kind: ReplyKind, language: str) -> None:
    """The guard cleans a whole letter once more, and our sentences must be no reason to stop it."""
    url = "https://gitlab.example/acme/app/-/issues/12"
    body = written(kind, language).body
    assert cleaned(body, url=url, mark="sb:", slash=True).removed == ()


def test_a_letter_is_signed_for_the_team_or_by_a_member() -> None:
    """By policy, which is no matter of the text."""
    team = written(ReplyKind.REPLY)
    member = written(ReplyKind.REPLY, facts=replace(SAMPLE_FACTS, signer="Alice Example"))
    assert "On behalf of the team\nExample Security\n" in team.body
    assert "Alice Example\nExample Security\n" in member.body
    assert "behalf" not in member.body


def test_a_claim_says_who_and_where_and_nothing_else() -> None:
    """Without a link where the tracker has none."""
    facts = LetterFacts(handler="Alice Example", link="https://tracker.example/1")
    text = written(ReplyKind.CLAIM, facts=facts)
    assert text.subject == "SB-2026-0001 is being handled by Alice Example"
    assert "SB-2026-0001 is being handled by Alice Example.\n\n    https://track" in text.body
    assert "http" not in written(ReplyKind.CLAIM, facts=LetterFacts(handler="Alice")).body


# ── What a person typed ──────────────────────────────────────────────────────────────────────────

HOSTILE = "{{ 7 * 7 }} {% raw %} {{ ''.__class__ }} {# x #} <b>&amp;</b>\n\nSubject: y\n\n# line"


@pytest.mark.parametrize("kind", LETTERS)
def test_what_a_person_typed_is_never_a_template(kind: ReplyKind) -> None:
    """It stands in the mail as it was typed, in the body alone."""
    facts = replace(SAMPLE_FACTS, text=HOSTILE)
    text = written(kind, facts=facts)
    assert HOSTILE in text.body
    assert text.subject == written(kind).subject


def test_the_same_facts_give_the_same_text() -> None:
    """The guard builds it again, in another process; it is never asked for a report."""
    other = TemplateWording([ALIAS])
    for kind, encrypted in TEMPLATES:
        for language in ("", "de", "de-at", "fr"):
            first = written(kind, language, encrypted=encrypted)
            assert first == written(kind, language, encrypted=encrypted, wording=other)
    known = {field.name for field in fields(LetterFacts)}
    assert known == {"text", "reason_class", "version", "url", "handler", "link", "signer"}


def test_a_subject_is_one_line_of_characters_that_are_seen() -> None:
    """Whatever a colleague calls himself."""
    facts = LetterFacts(handler="Al\u202eice\u200b\x1b[31m")
    assert written(ReplyKind.CLAIM, facts=facts).subject.endswith("handled by Alice[31m")


# ── In which language? ───────────────────────────────────────────────────────────────────────────

TEXT = "Subject: {language} {{{{ case_id }}}}\n\n{{{{ text }}}}\n"


@pytest.mark.parametrize(
    ("language", "own_language", "expected"),
    [
        ("de", "en", "de"),
        ("de-at", "en", "de-at"),
        ("de-ch", "en", "de"),
        ("DE-AT", "en", "de-at"),
        ("fr", "en", "none"),
        ("fr", "de", "de"),
        ("", "de", "de"),
        ("", "en", "none"),
        ("", "pt-br", "none"),
        ("en", "de", "none"),
        ("en-gb", "de", "none"),
    ],
)
def test_the_nearest_language_is_chosen(
    tmp_path: Path, language: str, own_language: str, expected: str
) -> None:
    """The reporter's region, its language, the alias's, and then the text that names none."""
    languages = {"reply": "none", "reply__de": "de", "reply__de_at": "de-at"}
    texts = {name: TEXT.format(language=one) for name, one in languages.items()}
    own(tmp_path, **texts)
    alias = own_alias(tmp_path, language=own_language)
    text = written(ReplyKind.REPLY, language, wording=TemplateWording([alias]), alias=alias)
    assert text.subject == f"{expected} {SAMPLE_CASE}"


def test_a_translation_of_ones_own_stands_beside_the_packaged_texts(tmp_path: Path) -> None:
    """Any language may be added; the others stay."""
    alias = own_alias(tmp_path)
    wording = own(tmp_path, reply__fr=TEXT.format(language="fr"))
    for language, subject in {
        "fr": "fr",
        "de": "Re: Ihre Meldung",
        "en": "Re: your report",
    }.items():
        text = written(ReplyKind.REPLY, language, wording=wording, alias=alias)
        assert text.subject.startswith(subject)


def test_an_operators_own_text_takes_the_place_of_ours_in_every_language(tmp_path: Path) -> None:
    """A packaged translation would promise what the operator's text does not say."""
    own_text = "Subject: Bonjour {{ case_id }}\n\nMerci, {{ team }}.\n"
    alias = own_alias(tmp_path)
    wording = own(tmp_path, acknowledgement_clear=own_text)
    for language in ("", "en", "de"):
        text = written(ReplyKind.ACKNOWLEDGEMENT, language, wording=wording, alias=alias)
        assert text == ReplyText("Bonjour SB-2026-0001", "Merci, Example Security.\n")
    other = written(ReplyKind.ACKNOWLEDGEMENT, encrypted=True, wording=wording, alias=alias)
    assert "Your encrypted message has arrived" in other.body


def test_pieces_may_be_shared_and_replaced(tmp_path: Path) -> None:
    """A file that begins with an underscore is no text; ours may be put in the place of, too."""
    (tmp_path / "_closing.j2").write_text("The cats of {{ team }}", encoding="utf-8")
    wording = TemplateWording([own_alias(tmp_path)])
    text = written(ReplyKind.HOLDING, wording=wording, alias=own_alias(tmp_path))
    assert text.body.endswith("The cats of Example Security\n")


# ── What is told at start ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "template", "problem"),
    [
        ("notice-send-key", "Subject: x\n\n{{ report }}", "'report' is undefined"),
        ("notice-send-key.de", "Subject: x\n\n{% if %}", "Expected an expression"),
        ("notice-send-key", "No subject at all", "must begin with"),
        ("notice-send-key", "Subject: \n\nx", "must begin with"),
        ("notice-send-key", "Subject: \u200b\n\nx", "must begin with"),
        ("claim", f"Subject: {'x' * 201}\n\nx", "must begin with"),
        ("notice-send-key", "Subject: x\n\n{{ ''.__class__.__mro__ }}", "unsafe"),
        ("notice-send-key", "Subject: x\n\n{% include 'missing.j2' %}", "missing.j2"),
        ("notice-key-unusable", "Subject: x\n\n{{ {'weak': 'x'}[code] }}", "expired"),
        ("rejection", "Subject: {{ case_id }}\n\n{{ {}[reason_class] }}{{ text }}", "vulner"),
        ("reply", "Subject: {{ case_id }}\n\nNothing.", "{{ text }}"),
        ("reply", "Subject: Hello\n\n{{ text }}", "{{ case_id }}"),
        ("reply", "Subject: {{ case_id }} {{ version }}\n\n{{ text }}", "a person typed"),
        ("replay", "Subject: x\n\nx", "no text is called 'replay'"),
        ("reply.german", "Subject: x\n\nx", "'german' is not how we name a language"),
        ("reply.DE", "Subject: x\n\nx", "'DE' is not how we name a language"),
        ("reply.", "Subject: x\n\nx", "'' is not how we name a language"),
    ],
)
def test_a_text_that_cannot_be_used_is_told_at_start(
    tmp_path: Path, name: str, template: str, problem: str
) -> None:
    """With the file and the reason, and not when the first reporter should have an answer."""
    (tmp_path / f"{name}.j2").write_text(template, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        TemplateWording([own_alias(tmp_path)])
    assert str(tmp_path / f"{name}.j2") in str(caught.value)
    assert problem in str(caught.value)


def test_a_text_in_another_charset_is_told_at_start(tmp_path: Path) -> None:
    """A folder may hold other files; a text is UTF-8."""
    (tmp_path / "README").write_bytes(b"\xff")
    TemplateWording([own_alias(tmp_path)])
    (tmp_path / "reply.fr.j2").write_bytes(
        "Subject: é {{ case_id }}\n\n{{ text }}".encode("latin-1")
    )
    with pytest.raises(ConfigError, match=r"reply\.fr\.j2"):
        TemplateWording([own_alias(tmp_path)])


def test_a_folder_of_texts_that_is_not_there_is_told_at_start(tmp_path: Path) -> None:
    """Else the operator's own words would silently stay at home."""
    with pytest.raises(ConfigError, match="is no folder"):
        TemplateWording([own_alias(tmp_path / "missing")])


def test_an_unknown_text_is_an_error_of_ours() -> None:
    """A notice never travels encrypted."""
    with pytest.raises(KeyError):
        written(ReplyKind.NOTICE_SEND_KEY, encrypted=True)

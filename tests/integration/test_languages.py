"""Does a reporter hear us in their own language?  Signed, guarded and opened with real gpg."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.answering import House, a_house, parsed, part_of, text_of
from tests.support.keys import Keys, Ring
from tests.support.messages import a_delivery, a_message, encrypted

from secbridge.errors import Refusal
from secbridge.model.message import CertificateSource, FoundCertificate
from secbridge.pipeline.replying import Letters


@pytest.fixture
async def house(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[House]:
    """Return the rooms that answer."""
    async with a_house(keys, role_ring, tmp_path) as rooms:
        yield rooms


async def test_clear_answers_in_another_language_pass_the_guard(house: House) -> None:
    """An acknowledgement and a fixed notice, letters that are not ASCII among them."""
    clear = await house.open_case(must_encrypt=False, language="de-at")
    locked = await house.open_case(must_encrypt=True, language="de")
    for case, message, words in (
        (clear, a_message(), "Sie müssen nichts verschlüsseln"),
        (locked, encrypted(), "und wir kennen zu Ihrer Adresse keinen"),
    ):
        mail, _ = await house.mails(message, case=case)
        await house.guard.allow(mail)
        assert words in text_of(parsed(mail.content))


async def test_a_clear_answer_in_another_language_than_the_cases_stays(house: House) -> None:
    """What the guard builds again is the text of this case; no other of ours will do."""
    case = await house.open_case(must_encrypt=False, language="de")
    answer = await house.answering.answer(
        delivery=a_delivery(case_id=case.id),
        case=replace(case, language="en"),
        message=a_message(),
        alias=house.alias,
    )
    assert isinstance(answer, Letters)
    assert "Hello," in text_of(parsed(answer.mails[0].content))
    with pytest.raises(Refusal, match="guard-altered"):
        await house.guard.allow(answer.mails[0])


async def test_an_encrypted_answer_is_in_the_language_of_the_case(house: House) -> None:
    """Its subject, too, which stands inside alone."""
    case = await house.open_case(must_encrypt=True, language="de")
    found = FoundCertificate(CertificateSource.INSIDE, house.keys.reporter_cert)
    mail, _ = await house.mails(encrypted(certificates=(found,)), case=case)
    inside = house.keys.reporter.gpg("--decrypt", stdin=part_of(parsed(mail.content), 1))
    entity = parsed(inside)
    assert entity["Subject"] == f"Ihre Nachricht ist angekommen ({case.id})"
    assert "verschlüsselt angekommen" in text_of(entity)

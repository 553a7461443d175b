"""The shapes of RFC 3156 and their ruins, and what the layers of a mail come to."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import pytest

from secbridge.model.message import (
    Coverage,
    Decryption,
    Layer,
    LayerForm,
    LayerKind,
    OpenFailure,
    Protection,
    SignatureFact,
    SignatureVerdict,
)
from secbridge.model.part import Part
from secbridge.rules import structure
from secbridge.rules.structure import Role

CONTROL = "application/pgp-encrypted"
SIGNATURE = "application/pgp-signature"
CIPHER = "application/octet-stream"


def part(media_type: str, *children: Part, **params: str) -> Part:
    """Return a part of this type."""
    return Part(0, 0, 0, media_type=media_type, params=params, children=children)


def roles(
    whole: Part,
    *,
    messages: AbstractSet[int] = frozenset(),
    signatures: AbstractSet[int] = frozenset(),
) -> list[str]:
    """Return the roles of the children, told which of them hold a message or a signature."""
    index = {id(child): number for number, child in enumerate(whole.children)}
    return [
        str(role)
        for role in structure.roles(
            whole,
            lambda child: index[id(child)] in messages,
            lambda child: index[id(child)] in signatures,
        )
    ]


def test_a_sound_encrypted_mail_has_a_control_part_and_a_ciphertext() -> None:
    """RFC 3156 section 4."""
    whole = part("multipart/encrypted", part(CONTROL), part(CIPHER))
    assert roles(whole, messages={1}) == ["control", "ciphertext"]


def test_any_multipart_with_a_control_part_is_an_encrypted_mail() -> None:
    """Whatever a gateway has put around them, in any order and number."""
    whole = part("multipart/mixed", part("text/plain"), part(CIPHER), part(CONTROL), part(CIPHER))
    assert roles(whole, messages={1, 3}) == ["content", "ciphertext", "control", "ciphertext"]


def test_an_ordinary_multipart_holds_content_only() -> None:
    """A ciphertext without a control part is an attachment, and its own leaf says so."""
    assert roles(part("multipart/mixed", part(CIPHER)), messages={0}) == ["content"]


def test_a_damaged_ciphertext_is_tried_all_the_same() -> None:
    """In multipart/encrypted the part that is left is the ciphertext, sound or not."""
    whole = part("multipart/encrypted", part(CONTROL), part(CIPHER))
    assert roles(whole) == ["control", "ciphertext"]


@pytest.mark.parametrize("kind", ["multipart/encrypted", "multipart/mixed"])
def test_a_control_part_alone_lacks_its_ciphertext(kind: str) -> None:
    """Then something was lost on the way."""
    whole = part(kind, part(CONTROL), part("text/plain"))
    found = structure.roles(whole, lambda _: False, lambda _: False)
    assert (structure.lacks_ciphertext(whole, found), found[1]) == (True, Role.CONTENT)


def test_the_last_signature_signs_the_first_other_part() -> None:
    """RFC 1847 section 2.1; parts beyond the two are content."""
    whole = part("multipart/signed", part("text/plain"), part(SIGNATURE))
    assert roles(whole) == ["signed", "signature"]
    whole = part("multipart/signed", part("text/plain"), part("text/plain"), part(CIPHER))
    assert roles(whole, signatures={2}) == ["signed", "content", "signature"]
    assert roles(part("multipart/signed", part("text/plain"))) == ["content"]
    assert roles(part("multipart/signed", part(SIGNATURE))) == ["content"]


def test_smime_signatures_are_no_openpgp_signatures() -> None:
    """They are recognised by protocol or type, and not judged."""
    whole = part("multipart/signed", part("text/plain"), part("application/pkcs7-signature"))
    assert (structure.is_cms_signed(whole), roles(whole)) == (True, ["content", "content"])


def test_certificates_alone_hide_nothing() -> None:
    """certs-only is the one form of application/pkcs7-mime that has no content."""
    bag = Part(0, 0, 0, media_type="application/pkcs7-mime", params={"smime-type": "certs-only"})
    assert not structure.is_cms_opaque(bag)
    assert structure.is_cms_opaque(part("application/pkcs7-mime"))


def test_plain_text_is_read_before_the_richest_alternative() -> None:
    """A tracker wants the plainest form, also when it is wrapped."""
    html, wrapped = part("text/html"), part("multipart/mixed", part("text/plain"))
    assert structure.by_preference((html, wrapped)) == (wrapped, html)
    assert structure.by_preference((html, part("image/png")))[0] == html


# ── What it comes to ─────────────────────────────────────────────────────────────────────────────


def shut(reason: OpenFailure) -> Layer:
    """Return a ciphertext that stayed shut."""
    return Layer(LayerKind.ENCRYPTED, LayerForm.PGP_MIME, 0, ok=False, reason=reason)


OPENED = Layer(LayerKind.ENCRYPTED, LayerForm.PGP_MIME, 0, ok=True)
SIGNED = Layer(LayerKind.SIGNED, LayerForm.PGP_MIME, 0, ok=False)


@pytest.mark.parametrize(
    ("layers", "protection", "decryption"),
    [
        ([], Protection.NONE, Decryption(None)),
        ([SIGNED], Protection.SIGNED, Decryption(None)),
        ([OPENED], Protection.ENCRYPTED, Decryption(True)),
        ([OPENED, SIGNED], Protection.ENCRYPTED_SIGNED, Decryption(True)),
        (
            [OPENED, shut(OpenFailure.CORRUPT)],
            Protection.ENCRYPTED,
            Decryption(False, OpenFailure.CORRUPT),
        ),
        (
            [shut(OpenFailure.TOO_COMPLEX), SIGNED, shut(OpenFailure.NO_SECRET_KEY)],
            Protection.UNDECRYPTABLE,
            Decryption(False, OpenFailure.NO_SECRET_KEY),
        ),
    ],
)
def test_layers_come_to_a_protection_and_a_decryption(
    layers: list[Layer], protection: Protection, decryption: Decryption
) -> None:
    """One shut ciphertext makes decryption fail; of several reasons the most telling is told."""
    assert (structure.protection(layers), structure.decryption(layers)) == (protection, decryption)


@pytest.mark.parametrize("reason", list(OpenFailure))
def test_every_reason_can_be_told(reason: OpenFailure) -> None:
    """No failure is left out of the order of reasons."""
    assert structure.decryption([shut(reason)]) == Decryption(False, reason)


@pytest.mark.parametrize(
    ("first", "last", "items", "attached", "expected"),
    [
        (0, 2, 2, False, Coverage.WHOLE),
        (0, 0, 0, False, Coverage.WHOLE),
        (0, 1, 2, False, Coverage.PART),
        (1, 2, 2, False, Coverage.PART),
        (0, 2, 2, True, Coverage.PART),
    ],
)
def test_a_signature_covers_the_whole_only_with_all_that_is_seen(
    first: int, last: int, items: int, attached: bool, expected: Coverage
) -> None:
    """Anything before, behind or around it makes it a part."""
    assert structure.coverage(first, last, items, attached=attached) is expected


def fact(verdict: SignatureVerdict = SignatureVerdict.GOOD, *addresses: str) -> SignatureFact:
    """Return a signature of a certificate with these addresses."""
    return SignatureFact(verdict, "F" * 40, addresses)


def test_the_signer_is_the_sender_when_the_certificate_names_the_author() -> None:
    """One of several user IDs suffices; ASCII case does not matter, other letters do."""
    good = SignatureVerdict.GOOD
    assert structure.signer_is_sender("A@x.org", fact(good, "b@x.org", "a@x.org"))
    assert not structure.signer_is_sender("a@x.org", fact(good, "b@x.org"))
    assert not structure.signer_is_sender("a@x.org", fact(good))
    assert not structure.signer_is_sender(None, fact(good, "a@x.org"))
    assert not structure.signer_is_sender("İ@x.org", fact(good, "i̇@x.org"))


def test_a_bad_signature_has_no_signer() -> None:
    """Anybody can copy a signature onto another text."""
    assert not structure.signer_is_sender("a@x.org", fact(SignatureVerdict.BAD, "a@x.org"))

"""Do we open what Thunderbird's OpenPGP writes?  Messages and signatures made by RNP, in each form.

Our ring holds the role key alone: whose signature it is, follows from the certificate in the mail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.commands import secbridge
from tests.support.keys import REPORTER, Keys, Ring
from tests.support.mails import encrypted, file, mail, multipart, signed, text
from tests.support.opening import Desk, told, verdicts
from tests.support.rnp import Kind, Packing, Rnp, fresh_rnp, why_not

from secbridge.model.message import Protection

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

WORDS = "Grüße.\n\nFrom here on:  \n- a dash\n\n-- \nRita\n"
INNER = text(WORDS)


@dataclass(frozen=True)
class Writer:
    """A reporter's RNP with its key, which knows the role key."""

    rnp: Rnp
    fingerprint: str
    role_key: str

    @property
    def certificate(self) -> bytes:
        """Return the own certificate as an attachment."""
        content = self.rnp.export(self.fingerprint)
        return file(content, "OpenPGP_key.asc", media_type="application/pgp-keys")

    def seal(self, content: bytes, packing: Packing = Packing.NONE) -> bytes:
        """Return the content, encrypted to the role key and signed."""
        return self.rnp.encrypt(content, self.role_key, sign=self.fingerprint, packing=packing)


@pytest.fixture(scope="module")
def writer(keys: Keys) -> Iterator[Writer]:
    """Return the reporter, whose key is of RNP's making."""
    with fresh_rnp(keys.role_cert) as rnp:
        fingerprint = rnp.make_key(f"Rita <{REPORTER}>", Kind.CV25519)
        yield Writer(rnp, fingerprint, keys.role_fpr)


@pytest.fixture(scope="module")
def entity(writer: Writer) -> bytes:
    """Return a text with the writer's certificate beside it."""
    return multipart("mixed", [INNER, writer.certificate])


@pytest.mark.parametrize("packing", Packing)
async def test_a_mail_by_rnp_is_opened_and_its_signature_is_good(
    stranger_desk: Desk, writer: Writer, entity: bytes, packing: Packing
) -> None:
    """PGP/MIME, encrypted and signed in one, however the message is packed inside."""
    message = await stranger_desk.open(mail(encrypted(writer.seal(entity, packing))))
    assert ["encrypted pgp-mime 0 ok", "signed pgp-mime 1 ok"] == told(message)
    assert (["good whole sender"], WORDS) == (verdicts(message), message.text)
    assert Protection.ENCRYPTED_SIGNED is message.protection
    assert [writer.fingerprint] == [one.fingerprint for one in message.signatures]


@pytest.mark.parametrize("packing", Packing)
async def test_inline_armor_by_rnp_is_opened_and_its_signature_is_good(
    stranger_desk: Desk, writer: Writer, packing: Packing
) -> None:
    """The signature covers the armored text and not the certificate that lies beside it."""
    armor = writer.seal(WORDS.encode(), packing).decode()
    content = multipart("mixed", [text(armor), writer.certificate])
    message = await stranger_desk.open(mail(content))
    assert ["encrypted inline 0 ok", "signed inline 1 ok"] == told(message)
    assert (["good part sender"], WORDS) == (verdicts(message), message.text)
    assert Protection.ENCRYPTED_SIGNED is message.protection


async def test_a_signed_mail_by_rnp_is_verified(
    stranger_desk: Desk, writer: Writer, entity: bytes
) -> None:
    """A detached signature over the octets as they lie there; over others it is bad."""
    signature = writer.rnp.sign_detached(entity, writer.fingerprint)
    message = await stranger_desk.open(mail(signed(entity, signature)))
    assert (["good whole sender"], WORDS) == (verdicts(message), message.text)
    changed = entity.replace(b"- a dash", b"- a dish")
    message = await stranger_desk.open(mail(signed(changed, signature)))
    assert ["bad whole other"] == verdicts(message)


async def test_a_cleartext_signature_by_rnp_is_verified(
    stranger_desk: Desk, writer: Writer
) -> None:
    """Without the trailing blanks, which such a signature does not cover (RFC 9580 section 7)."""
    armor = writer.rnp.clearsign(WORDS.encode(), writer.fingerprint).decode()
    content = multipart("mixed", [text(armor), writer.certificate])
    message = await stranger_desk.open(mail(content))
    assert ["good part sender"] == verdicts(message)
    assert WORDS.replace(":  \n", ":\n").replace("-- \n", "--\n") == message.text.rstrip() + "\n"


def test_inspect_tells_the_same_of_a_mail_by_rnp(
    writer: Writer, entity: bytes, role_ring: Ring, tmp_path: Path
) -> None:
    """The command that an operator types finds the good signature as well."""
    path = tmp_path / "mail.eml"
    path.write_bytes(mail(encrypted(writer.seal(entity))))
    row = secbridge("inspect", path, "--json", "--gnupghome", role_ring.home).row
    (signature,) = row["signatures"]
    assert ("encrypted+signed", None) == (row["protection"], row["error"])
    assert ("good", writer.fingerprint) == (signature["verdict"], signature["fingerprint"])
    assert (True, "whole") == (signature["signer_is_sender"], signature["covers"])

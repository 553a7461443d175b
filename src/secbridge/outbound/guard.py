"""May this mail leave?  The only door to the submission room, and it believes nobody.

A mail is taken apart (``outbound.strict``) and built again from what it may consist of: our own
names and texts, the case id, the certificate, the HMACs, and the few facts of its own that were
checked one by one (recipient, date, message ids, armor).  If the two differ in one octet it stays.
Of an encrypted mail the packets are read too: to exactly the intended certificates, to no password,
to nobody hidden.  Whom a mail may be encrypted to is what the store has bound to its case, and not
what the mail's own row says; so a key that was merely proposed never gets one.

No word of a report is at hand here, so none can slip through.  A letter of the team is the one mail
whose text is not ours: in clear it leaves only where nothing was ever encrypted, its text and its
subject are read out of it, judged again (``rules.letters``), and the mail is built again from them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime

from secbridge.mail import compose
from secbridge.mail.packets import HIDDEN, Container, describe
from secbridge.model.alias import Alias
from secbridge.model.case import Case
from secbridge.model.message import SignatureVerdict
from secbridge.model.reply import OutgoingMail, ReplyKind, ReplyText
from secbridge.outbound.strict import StrictMail, read, read_text, refusal
from secbridge.ports import Cases, OpenPGP, Wording
from secbridge.rules import addresses, commands, identity, letters, replies
from secbridge.rules.loops import is_plain_address

MAX_SIZE = 1 << 20
"""The largest mail of ours (octets): that of a letter as long as may be (``rules.letters``)."""

_REMEMBERED = 64
_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d "
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d \+0000"
)
_INTEGRITY = frozenset({Container.SEIPD1, Container.SEIPD2, Container.OCB})
_MICALG = {8: "pgp-sha256", 9: "pgp-sha384", 10: "pgp-sha512"}


class MailGuard:
    """Holds the aliases' names, texts and keys, and compares."""

    def __init__(
        self,
        openpgp: OpenPGP,
        wording: Wording,
        aliases: Iterable[Alias],
        *,
        secret: bytes,
        cases: Cases,
        mark: str = commands.MARK,
    ) -> None:
        self._openpgp = openpgp
        self._wording = wording
        self._aliases = {alias.address: alias for alias in aliases}
        self._secret = secret
        self._cases = cases
        self._mark = mark
        self._certificates: dict[str, list[bytes]] = {}
        self._allowed: OrderedDict[bytes, None] = OrderedDict()

    async def allow(self, outgoing: OutgoingMail) -> None:
        """Return if this mail may leave for this recipient; raise Refusal (``guard-…``) if not.

        The copy for the alias has the same octets as the reporter's and is not read twice.
        Raises Deferral for faults of ours.
        """
        case = await self._cases.get_case(outgoing.case_id)
        _judge_thread(outgoing, case)
        mail = read(outgoing.content, limit=MAX_SIZE)
        self._judge_recipient(outgoing, mail, case)
        judged = _digest(outgoing)
        if judged not in self._allowed:
            await self._judge(outgoing, mail, case)
            self._remember(judged)

    def _judge_recipient(self, outgoing: OutgoingMail, mail: StrictMail, case: Case | None) -> None:
        """Refuse unless the mail names its recipient, and its kind may go to whom it names.

        A letter goes to the reporter that the case has now, a claim to a member of the roster.
        """
        to = mail.fields.get("To", "")
        if outgoing.recipient not in {to, mail.fields.get("Cc")}:
            raise refusal("guard-recipient")
        if outgoing.kind.is_letter and (case is None or case.reporter != to):
            raise refusal("guard-not-reporter")
        if outgoing.kind is ReplyKind.CLAIM and self._member_key(case, to) is None:
            raise refusal("guard-not-member")

    def _member_key(self, case: Case | None, address: str) -> str | None:
        """Return the fingerprint ("" for none) of who has exactly this address in the roster."""
        alias = self._aliases.get(case.route.alias) if case else None
        found = letters.member_at(alias, address) if alias else None
        return found.fingerprint if found and found.address == address else None

    def _remember(self, judged: bytes) -> None:
        self._allowed[judged] = None
        while len(self._allowed) > _REMEMBERED:
            self._allowed.popitem(last=False)

    async def _judge(self, outgoing: OutgoingMail, mail: StrictMail, case: Case | None) -> None:
        alias, token = self._origin(outgoing, case)
        head = self._letterhead(outgoing, mail, alias, token)
        if outgoing.encrypted_to:
            await self._judge_ciphertext(outgoing, mail, alias, case)
            await self._compare(outgoing, mail, head, None)
        else:
            if mail.signed is None or not _is_one_signature(mail.packets):
                raise refusal("guard-signature")
            await self._compare(outgoing, mail, head, self._text(outgoing, mail, alias, case))
            await self._judge_signature(mail.armor, mail.signed, alias)

    async def _compare(
        self,
        outgoing: OutgoingMail,
        mail: StrictMail,
        head: compose.Letterhead,
        text: ReplyText | None,
    ) -> None:
        """Refuse unless the mail is, octet for octet, one that these facts make."""
        if self._matches(outgoing, mail, head, text):
            return
        await self._learn(head.fingerprint)
        if not self._matches(outgoing, mail, head, text):
            raise refusal("guard-altered")

    def _matches(
        self,
        outgoing: OutgoingMail,
        mail: StrictMail,
        head: compose.Letterhead,
        text: ReplyText | None,
    ) -> bool:
        for certificate in self._certificates.get(head.fingerprint, ()):
            if outgoing.content == _built(mail, replace(head, certificate=certificate), text):
                return True
        return False

    async def _learn(self, fingerprint: str) -> None:
        """Export our certificate and remember it; another judgement may have done so meanwhile.

        The old one stays good: a mail with it may have waited for the relay since.
        """
        known = self._certificates.setdefault(fingerprint, [])
        exported = await self._openpgp.export(fingerprint, minimal=True)
        if exported not in known:
            known.append(exported)

    # ── Which words? ──────────────────────────────────────────────────────────────────────────────

    def _text(
        self, outgoing: OutgoingMail, mail: StrictMail, alias: Alias, case: Case | None
    ) -> ReplyText:
        """Return the words that a clear mail has to hold: our own, or those of a letter, judged."""
        if case is not None and outgoing.kind.is_letter:
            return self._letter_text(outgoing, mail, alias, case)
        if case is not None and outgoing.kind is ReplyKind.CLAIM:
            return self._claim_text(mail, alias, case)
        answer = replies.NOTICES.get(outgoing.step)
        return self._wording.write(
            outgoing.kind,
            alias=alias,
            case_id=outgoing.case_id,
            encrypted=False,
            code=answer.code if answer else None,
            language=case.language if case else "",
        )

    def _claim_text(self, mail: StrictMail, alias: Alias, case: Case) -> ReplyText:
        """Return what is to be said of who handles a case.  Raises Refusal for anything else.

        Such as what was true when the mail was written, and is no more.
        """
        text = self._wording.write(
            ReplyKind.CLAIM,
            alias=alias,
            case_id=case.id,
            encrypted=False,
            facts=letters.claim_facts(case),
        )
        if letters.plain_text(read_text(mail).body) != letters.plain_text(text.body):
            raise refusal("guard-claim")
        return text

    def _letter_text(
        self, outgoing: OutgoingMail, mail: StrictMail, alias: Alias, case: Case
    ) -> ReplyText:
        """Return what a letter in clear says.  Raises Refusal where that may not leave."""
        text = read_text(mail)
        if not letters.is_fit_subject(text.subject, case.id):
            raise refusal("guard-subject")

        def frame() -> ReplyText:
            return self._wording.write(
                outgoing.kind,
                alias=alias,
                case_id=case.id,
                encrypted=False,
                language=case.language,
                facts=letters.NOTHING_SAID,
            )

        if not letters.is_fit_body(outgoing.kind, text.body, case, mark=self._mark, frame=frame):
            raise refusal("guard-text")
        return text

    # ── Whose mail is it, and in which thread? ────────────────────────────────────────────────────

    def _origin(self, outgoing: OutgoingMail, case: Case | None) -> tuple[Alias, str]:
        """Return the alias and the case's token that the envelope sender names.

        A step has one kind of text for ever.
        """
        local, _, domain = outgoing.reverse_path.rpartition("@")
        tag = addresses.parse_tag(local)
        alias = self._aliases.get(f"{tag.base}@{domain}") if tag else None
        if tag is None or alias is None:
            raise refusal("guard-reverse-path")
        if case is not None and (tag.token, alias.address) != (case.token, case.route.alias):
            raise refusal("guard-reverse-path")
        number = _number(outgoing.step)
        expected = addresses.bounce_address(alias.address, tag.token, number or 0)
        if number is None or outgoing.reverse_path != expected:
            raise refusal("guard-reverse-path")
        if not replies.is_kind_of(outgoing.step, outgoing.kind):
            raise refusal("guard-kind")
        return alias, tag.token

    def _letterhead(
        self, outgoing: OutgoingMail, mail: StrictMail, alias: Alias, token: str
    ) -> compose.Letterhead:
        """Return the header that this mail must have, from our own names and its checked facts."""
        fields = mail.fields
        message_id = identity.message_id(
            self._secret, outgoing.case_id, outgoing.step, alias.domain
        )
        if outgoing.message_id != message_id or fields.get("Message-ID") != message_id:
            raise refusal("guard-message-id")
        references = tuple(fields.get("References", "").split())
        in_reply_to = fields.get("In-Reply-To")
        ids = references if in_reply_to is None else (*references, in_reply_to)
        if references != compose.thread_of(None, references) or not all(
            compose.is_message_id(found) for found in ids
        ):
            raise refusal("guard-thread")
        if not is_plain_address(fields.get("To", "")) or not _DATE.fullmatch(
            fields.get("Date", "")
        ):
            raise refusal("guard-header")
        return compose.Letterhead(
            author_name=alias.name or alias.local_part,
            author=alias.address,
            to=fields["To"],
            cc="" if outgoing.kind is ReplyKind.CLAIM else alias.address,
            reply_to=addresses.case_address(alias.address, token),
            subject="",
            date=_date(fields["Date"]),
            message_id=message_id,
            origin=identity.origin(
                self._secret,
                case_id=outgoing.case_id,
                step=outgoing.step,
                message_id=message_id,
            ),
            in_reply_to=in_reply_to,
            references=references,
            submitted=outgoing.kind.submitted,
            fingerprint=alias.signing_key,
        )

    # ── OpenPGP ───────────────────────────────────────────────────────────────────────────────────

    async def _judge_ciphertext(
        self, outgoing: OutgoingMail, mail: StrictMail, alias: Alias, case: Case | None
    ) -> None:
        """Refuse unless the ciphertext is for exactly the intended certificates.

        Each of them must have exactly one session key, for one of its valid encryption subkeys, and
        each but the role key must name the address in ``To:``.  A member's need not: it is the
        roster's very fingerprint.
        """
        is_claim = outgoing.kind is ReplyKind.CLAIM
        if (outgoing.kind.is_fixed_notice and not is_claim) or mail.signed is not None:
            raise refusal("guard-kind")
        if mail.fields.get("Subject") != compose.OUTER_SUBJECT:
            raise refusal("guard-subject")
        facts = describe(mail.packets)
        if facts.passwords:
            raise refusal("guard-password")
        if HIDDEN in facts.recipients:
            raise refusal("guard-hidden-recipient")
        if facts.container not in _INTEGRITY or facts.truncated or facts.trailing:
            raise refusal("guard-ciphertext")
        intended, to = set(outgoing.encrypted_to), mail.fields.get("To", "")
        if len(intended) != 2 or outgoing.encrypted_to[1:] != (alias.signing_key,):
            raise refusal("guard-intended")
        if is_claim and outgoing.encrypted_to[0] != self._member_key(case, to):
            raise refusal("guard-not-member")
        owners = await self._owners(intended, alias, to=None if is_claim else to)
        named = Counter(owners.get(key_id) for key_id in facts.recipients)
        if named != Counter(intended):
            raise refusal("guard-recipients")

    async def _owners(
        self, intended: Iterable[str], alias: Alias, *, to: str | None
    ) -> dict[str, str]:
        """Return the key ids of the valid encryption subkeys, each with its certificate.

        Every certificate but our own has to name ``to``, where there is one.
        """
        owners: dict[str, str] = {}
        for fingerprint in intended:
            certificate = await self._openpgp.certificate(fingerprint)
            if certificate is None or certificate.problem is not None:
                raise refusal("guard-intended")
            named = {address.casefold() for address in certificate.addresses}
            if to is not None and fingerprint != alias.signing_key and to.casefold() not in named:
                raise refusal("guard-intended")
            owners |= {subkey[-16:]: fingerprint for subkey in certificate.encryption_subkeys}
        return owners

    async def _judge_signature(self, armor: bytes, signed: bytes, alias: Alias) -> None:
        """Refuse unless the one signature is good and the role key's (RFC 3156 section 5)."""
        facts = await self._openpgp.verify_detached(armor, signed)
        if [(fact.verdict, fact.fingerprint) for fact in facts] != [
            (SignatureVerdict.GOOD, alias.signing_key)
        ]:
            raise refusal("guard-signature")


def _judge_thread(outgoing: OutgoingMail, case: Case | None) -> None:
    """Refuse what the case, as the store has it now, does not allow.

    The thread may have become an encrypted one, and the team may have put another key in the place
    of the bound one, since the mail was built.  Where a key is bound, no letter leaves in clear.
    """
    bound = case.key.fingerprint if case is not None and case.key is not None else None
    if not outgoing.encrypted_to:
        must_encrypt = outgoing.must_encrypt or (case is not None and case.must_encrypt)
        if outgoing.kind.is_letter and bound is not None:
            must_encrypt = True
        if must_encrypt and not outgoing.kind.is_fixed_notice:
            raise refusal("guard-clear-in-encrypted-thread")
    elif outgoing.kind is not ReplyKind.CLAIM and outgoing.encrypted_to[0] != bound:
        raise refusal("guard-not-bound")


def _built(mail: StrictMail, head: compose.Letterhead, text: ReplyText | None) -> bytes:
    """Return the mail that this one has to be; without a ``text`` it is an encrypted one."""
    if text is None:
        return compose.encrypted_mail(head, mail.armor)
    titled = replace(head, subject=text.subject)
    payload = compose.payload(titled, text.body, encrypted=False)
    return compose.signed_mail(titled, payload, mail.armor, _micalg(mail.packets))


def _number(step: str) -> int | None:
    """Return the number of a step, None for one that we would not have written so."""
    try:
        number = replies.number_of(step)
    except KeyError:
        return None
    if step in replies.STEP_NUMBERS:
        return number
    written = f"{replies.LETTER}{number}", f"{replies.CLAIM}{number}"
    return number if number >= identity.LEAST_NUMBER and step in written else None


def _digest(outgoing: OutgoingMail) -> bytes:
    """Return a name for all that a judgement rests on: the whole row but the one recipient."""
    parts = (
        outgoing.case_id, outgoing.step, outgoing.kind.value, outgoing.reverse_path,
        outgoing.message_id, str(outgoing.must_encrypt), *outgoing.encrypted_to,
    )  # fmt: skip
    rest = hashlib.sha256("\0".join(parts).encode())
    return rest.digest() + hashlib.sha256(outgoing.content).digest()


def _date(value: str) -> datetime:
    try:
        return parsedate_to_datetime(value)
    except ValueError:
        raise refusal("guard-header") from None


def _is_one_signature(packets: bytes) -> bool:
    """Return whether this is one v4 signature packet, of a hash we use, and nothing behind it."""
    if len(packets) < 8 or len(packets) > 4096:
        return False
    match packets[0]:
        case 0x88:  # old format, one octet of length (RFC 9580 section 4.2.2)
            start, size = 2, packets[1]
        case 0x89:
            start, size = 3, int.from_bytes(packets[1:3], "big")
        case 0xC2 if packets[1] < 192:  # new format (RFC 9580 section 4.2.1)
            start, size = 2, packets[1]
        case 0xC2 if packets[1] < 224:
            start, size = 3, ((packets[1] - 192) << 8) + packets[2] + 192
        case _:
            return False
    body = packets[start:]
    return len(body) == size and body[:2] == b"\x04\x00" and body[3] in _MICALG


def _micalg(packets: bytes) -> str:
    """Return the ``micalg`` of a signature that ``_is_one_signature`` took."""
    start = 2 if packets[0] == 0x88 or (packets[0] == 0xC2 and packets[1] < 192) else 3
    return _MICALG[packets[start + 3]]

"""How do we say a verdict to a person who reads it at three at night?  In words, not codes."""

from __future__ import annotations

import re
from typing import assert_never

from secbridge.model.case import MailClass
from secbridge.model.message import (
    CertificateSource,
    Coverage,
    DeliveryReport,
    Message,
    OpenFailure,
    Protection,
    Signature,
    SignatureVerdict,
)
from secbridge.model.reply import ReplyKind
from secbridge.rules import clinic
from secbridge.rules.budgets import OVER_BUDGET
from secbridge.rules.loops import REFUSALS
from secbridge.rules.replies import KEY_CHANGED, KEY_UNUSABLE, NO_KEY
from secbridge.rules.threads import Mention, Participant, Thread, Tie, called
from secbridge.rules.triage import RULES

_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_HEX = re.compile(r"[0-9A-Fa-f]{8,64}")


def mail_class(value: MailClass) -> str:
    """Say what kind of mail it is."""
    match value:
        case MailClass.REPORT:
            return "report of a weakness"
        case MailClass.FOLLOW_UP:
            return "follow-up to this case"
        case MailClass.BOUNCE:
            return "bounce: a mail system says what became of a mail"
        case MailClass.AUTO_REPLY:
            return "automatic reply"
        case MailClass.OWN:
            return "mail of our own that came back"
        case MailClass.SPAM:
            return "marked as spam"
        case MailClass.UNDECRYPTABLE:
            return "encrypted mail that we cannot open"
        case MailClass.OTHER:
            return "not recognised as a report: somebody has to look"
        case _:
            assert_never(value)


def reason(rule: str) -> str:
    """Say what a rule of triage found, with its id; one that the table lacks is its id alone."""
    said = RULES.get(rule, "").rstrip(".")
    return f"{said} ({rule})" if said else rule


def protection(value: Protection) -> str:
    """Say how the mail as a whole was protected."""
    match value:
        case Protection.NONE:
            return "none, the mail came in clear"
        case Protection.SIGNED:
            return "signed, not encrypted"
        case Protection.ENCRYPTED:
            return "encrypted, not signed"
        case Protection.ENCRYPTED_SIGNED:
            return "encrypted and signed"
        case Protection.UNDECRYPTABLE:
            return "encrypted, and we cannot open it"
        case _:
            assert_never(value)


def failure(value: OpenFailure | None) -> str:
    """Say why a ciphertext could not be opened, as the end of "It could not be opened: …"."""
    match value:
        case None:
            return "the reason is not known"
        case OpenFailure.NO_SECRET_KEY:
            return "it is not encrypted to a key of this alias"
        case OpenFailure.CORRUPT:
            return "the encrypted data is damaged or incomplete"
        case OpenFailure.NO_INTEGRITY_PROTECTION:
            return "it has no integrity protection, so anybody on the way could have changed it"
        case OpenFailure.SYMMETRIC_ONLY:
            return "it is encrypted with a password only, not to a key"
        case OpenFailure.UNSUPPORTED_VERSION:
            return "it uses a newer form of OpenPGP that our GnuPG cannot read"
        case OpenFailure.TOO_LARGE:
            return "it unpacks to more than the limit"
        case OpenFailure.TOO_COMPLEX:
            return "it is too complex to open (too deep, too many parts, or too much work)"
        case OpenFailure.SMIME:
            return "it is S/MIME, which we recognise and do not open"
        case _:
            assert_never(value)


def signature(value: Signature) -> str:
    """Say what a signature is worth: verdict, whose, over what, and by which key."""
    words = [_verdict(value.verdict)]
    if value.verdict is SignatureVerdict.GOOD:
        words.append(
            "by the sender" if value.signer_is_sender else "NOT by the sender of this mail"
        )
        words.append(_known(value.signer_is_known))
    match value.covers:
        case Coverage.WHOLE:
            words.append("covers the whole mail")
        case Coverage.PART:
            words.append("covers ONLY A PART of the mail")
        case _:
            assert_never(value.covers)
    return ", ".join(word for word in words if word)


def delivery_report(value: DeliveryReport) -> str:
    """Say what a delivery status notification says of a mail of ours (RFC 3464 section 2.3)."""
    match (value.action or "").lower():
        case "failed":
            said = "the mail was NOT delivered"
        case "delayed":
            said = "the mail is delayed, and is tried again"
        case "delivered" | "relayed" | "expanded":
            said = "the mail went on"
        case _:
            said = "the mail may not have arrived"
    status = value.status or ""
    return f"{said} (status {status})" if _STATUS.fullmatch(status) else said


def fingerprint(value: str) -> str:
    """Return a fingerprint or key id in upper case, or say that the signature names none."""
    return value.upper() if _HEX.fullmatch(value) else "names no key"


# ── Threads ──────────────────────────────────────────────────────────────────────────────────────


def author_of(thread: Thread, message: Message) -> str:
    """Say who wrote a mail of a case, and how far that is proven."""
    if thread.pretended is not None:
        name = called(thread.pretended)
        if message.protection is Protection.UNDECRYPTABLE:
            doubt = f"claims to be by {name}, and we cannot open it"
        else:
            doubt = f"claims to be by {name}, and is not signed with {name}'s key for this case"
        return f"{_participant(thread)}: it {doubt}"
    if thread.member is not None:
        how = "directly by mail" if thread.directly else "a member of the team"
        return f"{called(thread.member)}, {how}"
    if thread.replayed:
        return (
            "new participant, with another mail that the reporter signed: its signature is older "
            "than this case, so anybody may have sent it again"
        )
    return _participant(thread)


def mention(value: Mention) -> str:
    """Say of a new case which earlier one its mail says that it continues."""
    return f"This mail claims to continue {value.case_id}, {named_by(value.tie)}."


def named_by(tie: Tie) -> str:
    """Say by what a mail names a case that it only claims to continue."""
    match tie:
        case Tie.SUBJECT:
            return "by its subject alone"
        case Tie.CAME_IN:
            return "by the Message-ID of a mail in it, which others may know, too"
        case Tie.TOKEN | Tie.REFERENCES:
            return "by what we sent ourselves"
        case _:
            assert_never(tie)


WAS_REOPENED = "This issue was closed. The reporter writes again, so it is reopened."
STAYS_CLOSED = "This issue is closed, and stays so: this mail does not reopen it."
CANNOT_REOPEN = (
    "The reporter wrote to this closed issue, and the tracker does not let us reopen it. "
    "Please do it by hand, if it is to go on."
)


def _participant(thread: Thread) -> str:
    match thread.participant:
        case Participant.REPORTER:
            return "the reporter, by the address"
        case Participant.SIGNER:
            return "the reporter, by the signature; the address is another one"
        case Participant.MEMBER:
            return "a member of the team"
        case Participant.NEW if thread.doubted:
            return (
                "new participant, with the reporter's address, which may be forged: your relay "
                "says that it fails DMARC"
            )
        case Participant.NEW:
            return "new participant, with neither the reporter's address nor the reporter's key"
        case _:
            assert_never(thread.participant)


# ── Keys and answers ─────────────────────────────────────────────────────────────────────────────


def source(value: CertificateSource) -> str:
    """Say where a certificate came from, as the end of "It came …"."""
    match value:
        case CertificateSource.PERSON:
            return "from a person of the team"
        case CertificateSource.SIGNATURE:
            return "with a verified signature"
        case CertificateSource.INSIDE:
            return "attached, inside the encryption"
        case CertificateSource.OUTSIDE:
            return "attached, outside of any encryption"
        case CertificateSource.AUTOCRYPT:
            return "in the Autocrypt header, outside of any encryption"
        case CertificateSource.KEYRING:
            return "from our own key ring"
        case CertificateSource.WKD:
            return "from the key directory of the reporter's domain (WKD)"
        case CertificateSource.VKS:
            return "from a keyserver that verifies addresses"
        case CertificateSource.HKP:
            return "from a keyserver, by the fingerprint of a signature"
        case _:
            assert_never(value)


def endorsement(value: SignatureVerdict) -> str:
    """Say whether the reporter's old key speaks for the new one."""
    match value:
        case SignatureVerdict.GOOD:
            return "yes, a good signature covers the new key"
        case SignatureVerdict.EXPIRED_KEY:
            return "yes, but by a key that has expired"
        case SignatureVerdict.ABSENT:
            return "NO"
        case (
            SignatureVerdict.BAD
            | SignatureVerdict.EXPIRED
            | SignatureVerdict.REVOKED_KEY
            | SignatureVerdict.UNKNOWN_KEY
        ):
            return f"NO: {_verdict(value)}"
        case _:
            assert_never(value)


def key_problem(code: str) -> str:
    """Say of somebody else's key why it cannot be used; a code without words stays a code."""
    if code == "no-user-id":
        return "it has no valid user ID with the reporter's address"
    return clinic.PROBLEMS.get(code, code).rstrip(".")


def key_warning(code: str) -> str:
    """Say what should be mended in a key that can be used; a code without words stays a code."""
    return clinic.WARNINGS.get(code, code).rstrip(".")


def held(why: str) -> str:
    """Say why an acknowledgement is held."""
    if why == NO_KEY:
        return "the thread is encrypted, and no key of the reporter is known"
    if why == KEY_CHANGED:
        return "another key came for the reporter, and nobody said yet whether it counts"
    code = why.removeprefix(KEY_UNUSABLE)
    return f"the reporter's key cannot be used: {key_problem(code)}"


def unblocks(why: str, case_id: str) -> str:
    """Say what ends the wait of a held acknowledgement, for an operator."""
    if why == KEY_CHANGED:
        return f"secbridge key accept FINGERPRINT --case {case_id}, or the same in the issue"
    return f"a mail with a usable key, or secbridge key import FILE --case {case_id}"


def refusal(code: str | None) -> str:
    """Say why nobody was answered by machine."""
    return (REFUSALS | OVER_BUDGET).get(code or "", f"The reason is {code}.")


def notice(kind: ReplyKind) -> str:  # noqa: C901 - one flat case for each kind
    """Say what a mail of ours tells, to the reporter or, of a claim, to the team."""
    match kind:
        case ReplyKind.ACKNOWLEDGEMENT:
            return "the acknowledgement"
        case ReplyKind.NOTICE_SEND_KEY:
            return "a fixed notice in clear: please send us your public key"
        case ReplyKind.NOTICE_USE_THIS_KEY:
            return "a fixed notice in clear: please use this key of ours"
        case ReplyKind.NOTICE_KEY_UNUSABLE:
            return "a fixed notice in clear: what is wrong with the key, and what to do"
        case ReplyKind.NOTICE_PLEASE_ENCRYPT:
            return "a fixed notice in clear: please encrypt in this thread"
        case ReplyKind.INTAKE_PAUSED:
            return "the acknowledgement, which says that the intake is paused"
        case ReplyKind.REPLY:
            return "a reply of the team"
        case ReplyKind.HOLDING:
            return "word that it is accepted and worked on"
        case ReplyKind.REJECTION:
            return "the rejection, with its reason"
        case ReplyKind.NEED_INFO:
            return "a question of the team"
        case ReplyKind.FIXED:
            return "word that it is fixed"
        case ReplyKind.DISCLOSED:
            return "word that it is published"
        case ReplyKind.DUPLICATE:
            return "word that it was reported before"
        case ReplyKind.NORMAL_BUG:
            return "word that it is treated as an ordinary bug"
        case ReplyKind.CLAIM:
            return "a notice to the team: who handles the case"
        case _:
            assert_never(kind)


def key_refusal(code: str) -> str:
    """Say why a certificate was not put in the place of another one."""
    match code:
        case "no-such-case":
            return "there is no such case"
        case "not-a-fingerprint":
            return "a key is named by its full fingerprint, 40 hexadecimal digits"
        case "not-proposed":
            return "no key with this fingerprint came for the reporter of this case"
        case "unknown-key":
            return "the key is not in our key ring any more"
        case _:
            return f"the key cannot be used: {key_problem(code)}"


def _verdict(value: SignatureVerdict) -> str:
    match value:
        case SignatureVerdict.GOOD:
            return "good"
        case SignatureVerdict.BAD:
            return "BAD, the mail was changed or the signature is of something else"
        case SignatureVerdict.EXPIRED:
            return "expired signature"
        case SignatureVerdict.EXPIRED_KEY:
            return "made by a key that has expired"
        case SignatureVerdict.REVOKED_KEY:
            return "made by a key that was REVOKED"
        case SignatureVerdict.UNKNOWN_KEY:
            return "made by a key that we do not have, so it proves nothing"
        case SignatureVerdict.ABSENT:
            return "absent"
        case _:
            assert_never(value)


def _known(known: bool | None) -> str:
    if known is None:
        return ""
    return "same key as before" if known else "key not seen from this reporter before"

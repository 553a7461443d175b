"""What is in each part?  A walk through all parts and layers, asking OpenPGP where it must.

Cut, open, cut again, until nothing is shut: each decrypted or signed content is read as the mail
was.  Every loop is bounded by ``OpeningLimits``, and what lies beyond a bound is said to be
unread, never left out in silence.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from secbridge.mail import flowed, parse, protected
from secbridge.mail.armor import ArmorBlock, OpenPGPKind, all_blocks, blocks, unquoted
from secbridge.mail.flowed import Flow, flow_of
from secbridge.mail.headers import split_header, unstructured
from secbridge.mail.packets import holds_packets, sniff
from secbridge.mail.reading import Reading, Sense, unsaid
from secbridge.mail.slices import (
    Budget,
    epilogue_is_blank,
    mended_octets,
    signed_octets,
    slice_entity,
)
from secbridge.mail.text import decode, html_to_text, is_blank_html, readable
from secbridge.model.message import (
    Attachment,
    CertificateSource,
    LayerForm,
    LayerKind,
    OpenFailure,
    SignatureFact,
    SignatureVerdict,
)
from secbridge.model.part import OpeningLimits, Part
from secbridge.ports import CannotOpen, Decrypted, OpenPGP
from secbridge.rules import structure
from secbridge.rules.structure import Role

_ARMOR = b"-----BEGIN PGP "
_SNIFFED = 16 * 1024
_MOST_NAMED = 32
_MOST_BLOCKS = 256
_COMPARED = 256 * 1024
_INNER_MULTIPARTS = frozenset({"multipart/encrypted", "multipart/signed"})
_TEXTS = frozenset({"text/plain", "text/html", "application/pgp"})
_LOST_SIGNATURE = SignatureFact(SignatureVerdict.BAD, "")


class Whole:
    """The octets that parts lie in; ``wanted``: more of them will be read.

    Who gave them may take those back that nobody wants: then a large mail is not there beside its
    own plaintext.
    """

    __slots__ = ("content", "wanted")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.wanted = True


@dataclass(frozen=True, slots=True, repr=False)
class Place:
    """Where we are: in which bytes, under how many layers, and what is around.

    ``root``: the entity is the root of a mail or of what a layer protects.  ``opened``: it came out
    of ciphertext.  ``attached``: within an attached message; ``forwarded``: and not yet within a
    ciphertext in there.  ``alternative``: beside an alternative that was read already.  ``level``:
    how deep in MIME, counted through all layers.
    """

    whole: Whole
    depth: int = 0
    level: int = 0
    root: bool = False
    opened: bool = False
    attached: bool = False
    forwarded: bool = False
    alternative: bool = False

    @property
    def data(self) -> bytes:
        """The octets that the parts here lie in."""
        return self.whole.content

    def inside(self) -> Place:
        """Return the place of a part of this one."""
        return replace(self, root=False, level=self.level + 1)

    @property
    def sense(self) -> Sense:
        """What a text here is to a reader."""
        return Sense.FORWARDED if self.forwarded else Sense.BODY


class _Held:
    """Octets that are given away, so that no frame which waits for an answer holds them still."""

    __slots__ = ("content",)

    def __init__(self, content: bytes | memoryview) -> None:
        self.content = content

    def give(self) -> bytes | memoryview:
        """Return the octets and forget them."""
        content, self.content = self.content, b""
        return content


class Reader:
    """Walks the parts of one mail, through all its layers, and collects a Reading."""

    def __init__(self, openpgp: OpenPGP, limits: OpeningLimits) -> None:
        self.reading = Reading()
        self.budget = Budget(limits)
        self._openpgp = openpgp
        self._limits = limits
        self._ciphertexts_left = limits.max_ciphertexts
        self._signatures_left = limits.max_signatures
        self._plaintext_left = limits.max_plaintext
        self._blocks_left = _MOST_BLOCKS
        self._seen: set[bytes] = set()

    # ── Parts ────────────────────────────────────────────────────────────────────────────────────

    async def read(self, part: Part, place: Place) -> None:
        """Read a part and all below it."""
        if part.unread:
            self._unread(part, place)
        if place.root and not place.attached and self.reading.subject is None and place.depth:
            subject = protected.protected_subject(place.data, part, self._limits)
            self.reading.subject = subject
        if part.is_message and part.children:
            await self._attached_message(part, part.children[0], place)
        elif part.is_multipart and part.children:
            await self._multipart(part, place)
        elif part.unread and part.is_message:
            self._add_file(part, place.data[part.body : part.end], place)
        elif not part.unread or not part.is_multipart:
            await self._leaf(part, place)

    def _unread(self, part: Part, place: Place) -> None:
        """Say that something was not looked at, and whether a ciphertext could hide there."""
        self.reading.too_complex()
        start = part.children[-1].end if part.children else part.body
        if parse.may_hide_ciphertext(place.data, start, part.end):
            self.reading.add_shut(LayerForm.ATTACHMENT, place.depth, OpenFailure.TOO_COMPLEX)

    async def _multipart(self, part: Part, place: Place) -> None:
        layers = len(self.reading.layers)
        if not epilogue_is_blank(place.data, part):
            self.reading.note("epilogue")
        if part.media_type == "multipart/alternative":
            await self._alternatives(part, place.inside())
            return
        found = structure.roles(
            part,
            lambda leaf: parse.openpgp_kind(place.data, leaf) is OpenPGPKind.MESSAGE,
            lambda leaf: parse.openpgp_kind(place.data, leaf) is OpenPGPKind.SIGNATURE,
        )
        if part.media_type == "multipart/signed" and Role.SIGNED not in found:
            cms = structure.is_cms_signed(part)
            self.reading.note("smime-signature" if cms else "signature-missing")
        signature = part.children[found.index(Role.SIGNATURE)] if Role.SIGNED in found else None
        for child, role in zip(part.children, found, strict=True):
            match role:
                case Role.SIGNED if signature is not None:
                    await self._signed(child, signature, place)
                case Role.SIGNATURE:
                    pass
                case Role.CIPHERTEXT:
                    held = _Held(parse.looked_at(place.data, child))
                    if place.root and child is part.children[-1]:
                        place.whole.wanted = False
                    await self._wrapped(held, child, place.inside())
                case Role.CONTROL:
                    self._control(child, place)
                case _:
                    await self.read(child, place.inside())
        if structure.lacks_ciphertext(part, found) and not self._found_ciphertext(layers):
            self.reading.add_shut(LayerForm.PGP_MIME, place.depth, OpenFailure.CORRUPT)

    async def _wrapped(self, held: _Held, part: Part, place: Place) -> None:
        """Read what a multipart/encrypted holds; some programs put there what is only signed."""
        if sniff(bytes(held.content[:_SNIFFED])) is OpenPGPKind.SIGNED_MESSAGE:
            await self._signed_payload(bytes(held.give()), part, place, LayerForm.PGP_MIME)
        else:
            await self._ciphertext(held, part, place, LayerForm.PGP_MIME)

    def _found_ciphertext(self, since: int) -> bool:
        return any(layer.kind is LayerKind.ENCRYPTED for layer in self.reading.layers[since:])

    def _control(self, part: Part, place: Place) -> None:
        """Keep the words of a control part, unless they are its "Version: 1"."""
        text = readable(decode(parse.decoded(place.data, part, most=_SNIFFED), None)[0])
        if "".join(text.split()).lower() != "version:1":
            self.reading.add_text(text, sense=place.sense, opened=place.opened)

    async def _alternatives(self, part: Part, place: Place) -> None:
        """Read the plainest alternative that has words; keep of the others what it does not say."""
        pieces = self.reading.pieces
        first = len(pieces)
        for child in structure.by_preference(part.children):
            before = len(pieces)
            read = pieces[first:]
            await self.read(child, replace(place, alternative=bool(read)))
            said = "".join(piece.text for piece in read if piece.opened == place.opened)
            for piece in pieces[before:] if read else ():
                if piece.sense is Sense.BODY and piece.opened == place.opened:
                    piece.text = unsaid(said, piece.text)
                    piece.sense = Sense.BODY if piece.text else Sense.REPEATED

    async def _attached_message(self, part: Part, inner: Part, place: Place) -> None:
        """Keep an attached message as a file; open and judge what is shut or signed within it."""
        reading = self.reading
        if place.root and not place.attached:
            await self.read(inner, replace(place, attached=True, level=place.level + 1))
            return
        reading.add_file(
            parse.file_name(part),
            part.media_type,
            place.data[inner.start : inner.end],
            opened=place.opened,
            text=_summary(place.data, inner, self._limits),
        )
        before, layers = len(reading.pieces), len(reading.layers)
        within = replace(place, root=True, attached=True, forwarded=True, alternative=False)
        await self.read(inner, replace(within, level=place.level + 1))
        if not self._found_ciphertext(layers):
            reading.pieces[before:] = [
                piece for piece in reading.pieces[before:] if piece.file is None
            ]

    # ── Leaves ───────────────────────────────────────────────────────────────────────────────────

    async def _leaf(self, part: Part, place: Place) -> None:
        data = place.data
        if structure.is_cms_opaque(part) or parse.is_enveloped(data, part):
            content = parse.decoded(data, part)
            file = self._attachment(part, content, place)
            self.reading.add_shut(LayerForm.ATTACHMENT, place.depth, OpenFailure.SMIME, file)
        elif _is_text(part, place):
            await self._text(part, place)
        elif protected.is_legacy_part(part):
            text = readable(decode(parse.decoded(data, part), None)[0])
            if not protected.repeats_header(text, self.reading.subject):
                self.reading.add_text(text, sense=place.sense, opened=place.opened)
        else:
            await self._file(part, place)

    async def _file(self, part: Part, place: Place) -> None:
        """Read an attachment by what it holds."""
        match parse.openpgp_kind(place.data, part):
            case OpenPGPKind.MESSAGE:
                content = parse.decoded(place.data, part)
                await self._ciphertext(_Held(content), part, place, LayerForm.ATTACHMENT)
            case OpenPGPKind.SIGNED_MESSAGE | OpenPGPKind.CLEARTEXT:
                await self._signed_file(part, place)
            case OpenPGPKind.PUBLIC_KEY:
                content = parse.decoded(place.data, part)
                self._certificate(content, place)
                self._add_file(part, content, place)
            case _:
                await self._plain_file(part, place)

    async def _plain_file(self, part: Part, place: Place) -> None:
        """Keep an attachment; one that is itself a protected entity is read as such.

        Outlook's OpenPGP plug-in hides the whole encrypted mail in such a file.
        """
        content = parse.decoded(place.data, part)
        within = replace(place, whole=Whole(content), level=place.level + 1)
        if part.is_message and within.level >= self._limits.max_depth:
            self._unread(part, place)
        elif part.is_message:
            inner = slice_entity(content, self.budget, depth=within.level)
            await self._attached_message(part, inner, within)
            return
        if content[:1024].lstrip()[:1].isalpha() and parse.is_entity(content):
            inner = slice_entity(content, self.budget, depth=within.level)
            if inner.media_type in _INNER_MULTIPARTS and (inner.children or inner.unread):
                await self.read(inner, replace(within, root=True))
                return
        self._add_file(part, content, place)
        for block in _blocks_that_make_up(content):
            armored = content[block.start : block.end]
            await self._ciphertext(_Held(armored), part, place, LayerForm.ATTACHMENT, kept=True)

    def _add_file(self, part: Part, content: bytes, place: Place) -> None:
        name, kind = parse.file_name(part), part.media_type
        self.reading.add_file(name, kind, content, opened=place.opened)

    @staticmethod
    def _attachment(part: Part, content: bytes, place: Place) -> Attachment:
        name, kind = parse.file_name(part), part.media_type
        return Attachment(name, kind, content, encrypted=place.opened, outside_encryption=False)

    def _certificate(self, content: bytes, place: Place) -> None:
        source = CertificateSource.INSIDE if place.opened else CertificateSource.OUTSIDE
        self.reading.add_certificate(source, content)

    # ── Texts ────────────────────────────────────────────────────────────────────────────────────

    async def _text(self, part: Part, place: Place) -> None:
        """Read a text part, with whatever armor stands in it."""
        content = parse.decoded(place.data, part)
        if part.media_type == "text/html":
            await self._html(part, content, place)
        else:
            await self._words(content, part, place, flow=flow_of(part))

    async def _html(self, part: Part, content: bytes, place: Place) -> None:
        limits = self._limits
        markup = self._decoded(content[: limits.max_html], parse.charset_of(part))
        markup = protected.without_legacy_display(part, markup, self.reading.subject)
        text = html_to_text(markup)
        if len(content) > limits.max_html:
            self._cut_text(part, content, place)
        if "-----BEGIN PGP MESSAGE-----" in text:
            await self._words(text.encode("utf-8", "replace"), part, place, charset="utf-8")
            return
        if not text.strip() and not is_blank_html(markup):
            text = "[text/html]"
        self._say(text, place)

    async def _words(
        self,
        content: bytes,
        part: Part,
        place: Place,
        *,
        charset: str | None = None,
        flow: Flow | None = None,
    ) -> None:
        """Read a text, opening and judging each armored block where it stands."""
        charset = charset or parse.charset_of(part)
        spoken = 0
        for block in all_blocks(content, stuffed=flow is not None) if _ARMOR in content else ():
            self._blocks_left -= 1
            if self._blocks_left < 0:
                self.reading.too_complex()
                self.reading.add_shut(LayerForm.INLINE, place.depth, OpenFailure.TOO_COMPLEX)
                break
            forms = _forms(content[block.start : block.end], block, flow)
            kind = _kind_of_block(forms[0], block)
            if kind is OpenPGPKind.PUBLIC_KEY:
                self._certificate(forms[0], place)
            if block.quoted and not await self._opens(forms[0], place):
                continue
            if kind not in _ACTED_ON:
                continue
            self._speak(content[spoken : block.start], part, charset, place)
            spoken = block.end
            if kind is OpenPGPKind.MESSAGE:
                await self._ciphertext(_Held(forms[0]), part, place, LayerForm.INLINE)
            else:
                await self._signed_text(forms, part, charset, place)
        self._speak(content[spoken:] if spoken else content, part, charset, place)

    async def _opens(self, quoted: bytes, place: Place) -> bool:
        """Whether a ciphertext that somebody quotes is for us; else it is a quotation, and text."""
        left = self._plaintext_left
        opens = isinstance(await self._decrypt(_Held(quoted), place), Decrypted)
        self._plaintext_left = left
        return opens

    def _speak(self, content: bytes, part: Part, charset: str | None, place: Place) -> None:
        """Add the words of a text; of a huge one the beginning, and all of it as a file."""
        if len(content) > self._limits.max_text:
            self._cut_text(part, content, place)
            content = content[: self._limits.max_text]
        text = readable(self._decoded(content, charset))
        text = protected.without_legacy_display(part, text, self.reading.subject)
        self._say(text, place)

    def _say(self, text: str, place: Place) -> None:
        self.reading.add_text(text, sense=place.sense, opened=place.opened)

    def _cut_text(self, part: Part, content: bytes, place: Place) -> None:
        self.reading.note("text-cut")
        self._add_file(part, content, place)

    def _decoded(self, content: bytes, charset: str | None) -> str:
        text, guessed = decode(content, charset)
        if guessed:
            self.reading.note("charset-guessed")
        return text

    # ── Ciphertexts ──────────────────────────────────────────────────────────────────────────────

    async def _ciphertext(
        self, held: _Held, part: Part, place: Place, form: LayerForm, *, kept: bool = False
    ) -> None:
        """Open one OpenPGP message and read what is in it, or say why it stays shut.

        A file that stays shut is an attachment as it is, unless it was ``kept`` already; any other
        ciphertext is given up before gpg opens it, so that it is not there beside its plaintext.
        """
        if self._is_repeated(held.content, place):
            return
        if self._ciphertexts_left <= -_MOST_NAMED:
            return  # that some were left is told by those that were named
        reading = self.reading
        is_file = form is LayerForm.ATTACHMENT and not kept
        content = bytes(held.content) if is_file else b""
        result = await self._decrypt(held, place)
        if isinstance(result, CannotOpen):
            file = self._attachment(part, content, place) if is_file else None
            reading.add_shut(form, place.depth, result.reason, file)
            return
        del content
        reading.add_opened(form, place.depth, result.opened_by)
        inner = replace(
            place, depth=place.depth + 1, root=True, opened=True, forwarded=False, alternative=False
        )
        facts = _judged(result.signatures)
        begun = reading.begin_signed(facts, form, inner.depth, attached=place.attached)
        plaintext = result.plaintext.content
        del result
        await self._payload(plaintext, part, _deeper(inner, bool(facts)), form)
        reading.end_signed(begun)

    async def _decrypt(self, held: _Held, place: Place) -> Decrypted | CannotOpen:
        """Ask for the plaintext within the bounds that are left for this mail."""
        limits = self._limits
        self._ciphertexts_left -= 1
        if place.depth >= limits.max_layers or self._ciphertexts_left < 0:
            self.reading.too_complex()
            return CannotOpen(OpenFailure.TOO_COMPLEX)
        most = limits.plaintext_floor + limits.plaintext_ratio * len(held.content)
        result = await self._openpgp.decrypt(held.give(), limit=min(most, self._plaintext_left))
        if isinstance(result, Decrypted):
            self._plaintext_left -= len(result.plaintext)
        return result

    def _is_repeated(self, content: bytes | memoryview, place: Place) -> bool:
        """Whether an alternative holds the very ciphertext that was opened in the other one."""
        if len(content) > _COMPARED:
            return False
        squeezed = hashlib.sha256(bytes(content).translate(None, b" \t\r\n")).digest()
        repeated = place.alternative and squeezed in self._seen
        self._seen.add(squeezed)
        return repeated

    async def _payload(self, content: bytes, part: Part, place: Place, form: LayerForm) -> None:
        """Read what came out of a layer: OpenPGP again, a MIME entity, a text or a file."""
        match sniff(content[:_SNIFFED]):
            case OpenPGPKind.MESSAGE:
                await self._ciphertext(_Held(content), part, place, form)
                return
            case OpenPGPKind.SIGNED_MESSAGE:
                await self._signed_payload(content, part, place, form)
                return
            case _:
                pass
        is_entity = parse.is_mail if form is LayerForm.PGP_MIME else parse.is_entity
        if is_entity(content):
            within = replace(place, whole=Whole(content), level=place.level + 1)
            root = slice_entity(content, self.budget, depth=within.level)
            if form is LayerForm.PGP_MIME and place.opened and not place.attached:
                subject = protected.subject_of(content, root, self._limits)
                self.reading.hidden_subject = self.reading.hidden_subject or subject
            await self.read(root, within)
        elif form is LayerForm.ATTACHMENT:
            await self._opened_file(content, part, place)
        else:
            await self._words(content, part, place, charset=_armor_charset(content, part))

    async def _opened_file(self, content: bytes, part: Part, place: Place) -> None:
        """Keep the plaintext of an encrypted attachment as an attachment."""
        if sniff(content[:_SNIFFED]) is OpenPGPKind.PUBLIC_KEY:
            self._certificate(content, place)
        name = parse.file_name(part)
        shorter = name.rpartition(".")[0] if name.lower().endswith(_CIPHER_SUFFIXES) else name
        kind = "text/plain" if _is_plain_text(content) else "application/octet-stream"
        self.reading.add_file(shorter or name, kind, content, opened=place.opened)

    # ── Signatures ───────────────────────────────────────────────────────────────────────────────

    async def _signed(self, child: Part, signature: Part, place: Place) -> None:
        """Judge a signature over a part's raw octets, then read it (RFC 3156 section 5)."""
        facts = await self._verify(child, signature, place)
        begun = self.reading.begin_signed(
            facts, LayerForm.PGP_MIME, place.depth, attached=place.attached
        )
        trusted = any(fact.verdict is not SignatureVerdict.BAD for fact in facts)
        inner = replace(place, depth=place.depth + 1, root=place.root and trusted)
        await self.read(child, inner)
        self.reading.end_signed(begun)

    async def _verify(
        self, child: Part, signature: Part, place: Place
    ) -> tuple[SignatureFact, ...]:
        if not self._may_verify():
            return ()
        armored = parse.decoded(place.data, signature)
        octets = signed_octets(place.data, child)
        facts = _judged(await self._openpgp.verify_detached(armored, octets))
        if any(fact.verdict is SignatureVerdict.BAD for fact in facts):
            mended = mended_octets(place.data, child)
            if mended is not None and self._may_verify():
                facts = _judged(await self._openpgp.verify_detached(armored, mended))
        return facts or (_LOST_SIGNATURE,)

    def _may_verify(self) -> bool:
        self._signatures_left -= 1
        if self._signatures_left < 0:
            self.reading.too_complex()
        return self._signatures_left >= 0

    async def _signed_text(
        self, forms: tuple[bytes, ...], part: Part, charset: str | None, place: Place
    ) -> None:
        """Judge a clear-signed text, or a signed message in armor, within a text.

        Of the forms that a text which flows may have been signed in, the one that verifies is what
        its author wrote, and what is told.
        """
        facts, content = await self._opaque(forms[0], place)
        for form in forms[1:]:
            if not _is_bad(facts):
                break
            again, other = await self._opaque(form, place)
            if again and not _is_bad(again):
                facts, content = again, other
        begun = self.reading.begin_signed(
            facts, LayerForm.INLINE, place.depth, attached=place.attached
        )
        if content is None:
            self._speak(forms[0], part, charset, place)
        else:
            await self._payload(content, part, _deeper(place, bool(facts)), LayerForm.INLINE)
        self.reading.end_signed(begun)

    async def _signed_payload(
        self, message: bytes, part: Part, place: Place, form: LayerForm
    ) -> None:
        """Judge a signed message that came out of a ciphertext, and read what it holds."""
        facts, content = await self._opaque(message, place)
        begun = self.reading.begin_signed(facts, form, place.depth, attached=place.attached)
        if content is None:
            await self._opened_file(message, part, place)
        else:
            await self._payload(content, part, _deeper(place, bool(facts)), form)
        self.reading.end_signed(begun)

    async def _signed_file(self, part: Part, place: Place) -> None:
        """Judge an attachment that is a signed message; its content becomes the attachment."""
        raw = parse.decoded(place.data, part)
        facts, content = await self._opaque(raw, place)
        form = LayerForm.ATTACHMENT
        begun = self.reading.begin_signed(facts, form, place.depth, attached=place.attached)
        if content is None:
            self._add_file(part, raw, place)
        else:
            await self._payload(content, part, _deeper(place, bool(facts)), form)
        self.reading.end_signed(begun)

    async def _opaque(
        self, message: bytes, place: Place
    ) -> tuple[tuple[SignatureFact, ...], bytes | None]:
        """Return the verdicts on a message that carries its text, and the text if readable."""
        if place.depth >= self._limits.max_layers or not self._may_verify():
            self.reading.too_complex()
            return (), None
        limits = self._limits
        most = limits.plaintext_floor + limits.plaintext_ratio * len(message)
        limit = min(most, self._plaintext_left)
        result = await self._openpgp.verify_opaque(message, limit=limit)
        if isinstance(result, CannotOpen):
            return (_LOST_SIGNATURE,), None
        self._plaintext_left -= len(result.content)
        return _judged(result.signatures), result.content.content


_ACTED_ON = frozenset({OpenPGPKind.MESSAGE, OpenPGPKind.SIGNED_MESSAGE, OpenPGPKind.CLEARTEXT})
_CIPHER_SUFFIXES = (".gpg", ".pgp", ".asc")


def _judged(facts: tuple[SignatureFact, ...]) -> tuple[SignatureFact, ...]:
    return tuple(fact for fact in facts if fact.verdict is not SignatureVerdict.ABSENT)


def _is_bad(facts: tuple[SignatureFact, ...]) -> bool:
    return any(fact.verdict is SignatureVerdict.BAD for fact in facts)


def _deeper(place: Place, signed: bool) -> Place:
    """Return the place under one more layer when what lies there is signed."""
    return replace(place, depth=place.depth + 1) if signed else place


def _forms(armored: bytes, block: ArmorBlock, flow: Flow | None) -> tuple[bytes, ...]:
    """Return the forms in which a block may have been made; the first is how it stands there."""
    if block.quoted:
        armored = unquoted(armored)
    if flow is None:
        return (armored,)
    if block.kind is OpenPGPKind.CLEARTEXT:
        return flow.signed_forms(armored)
    return (flowed.armor(armored),)


def _kind_of_block(armored: bytes, block: ArmorBlock) -> OpenPGPKind | None:
    """Return what an armored block is; of messages only the packets tell which are encrypted.

    None is a line of armor that somebody writes about, with words behind it and no end.
    """
    if block.kind is not OpenPGPKind.MESSAGE or block.quoted:
        return block.kind
    if not block.complete and not holds_packets(armored[:_SNIFFED]):
        return None
    found = sniff(armored[:_SNIFFED])
    return OpenPGPKind.SIGNED_MESSAGE if found is OpenPGPKind.SIGNED_MESSAGE else block.kind


def _blocks_that_make_up(content: bytes) -> list[ArmorBlock]:
    """Return the armored messages in a file that are most of it.

    Some programs wrap a ciphertext in a page that explains it (an Autocrypt Setup Message does);
    a log or a test case that happens to hold one is no encrypted file.
    """
    if len(content) > _COMPARED or _ARMOR not in content:
        return []
    found = [block for block in blocks(content) if block.kind is OpenPGPKind.MESSAGE]
    return found if 2 * sum(block.end - block.start for block in found) > len(content) else []


def _is_text(part: Part, place: Place) -> bool:
    """Whether a leaf is part of what its author wrote, and not a file."""
    if part.formless:
        return True
    if part.disposition == "attachment":
        return False
    if place.root and part.media_type.startswith("text/"):
        return True
    return part.media_type in _TEXTS and not part.name


def _is_plain_text(content: bytes) -> bool:
    if b"\0" in content[:4096]:
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _armor_charset(content: bytes, part: Part) -> str | None:
    """Return the charset of a decrypted text: UTF-8 when it is, else what the part declares."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return parse.charset_of(part)
    return "utf-8"


def _summary(data: bytes, part: Part, limits: OpeningLimits) -> str:
    """Return the few header lines that a reader of a forwarded message sees."""
    block = split_header(data, part.start, part.body, most=limits.max_header)
    shown = ((name, block.all(name)) for name in ("from", "to", "subject", "date"))
    return "".join(
        f"{name.capitalize()}: {unstructured(values[0])}\n" for name, values in shown if values
    )

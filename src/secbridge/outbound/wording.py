"""Which words do we send?  Jinja2 templates in several languages, read and tried once at start.

A text knows the case id, our own names, our fingerprint, a code, and what a person of the team had
us say; nothing of a mail can reach it, because nothing of a mail is handed in.  What a person typed
is a value: it is written as it stands, and never read as a template.

``KIND.j2`` is English, or whatever the operator writes there; ``KIND.LANG.j2`` is a translation.
An operator's own texts lie in the alias's ``templates`` folder under the names of the packaged
ones.  An own ``KIND.j2`` takes the place of the packaged translations as well, which would promise
what it does not say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from jinja2 import (
    ChoiceLoader,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    Template,
    TemplateError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from secbridge.errors import ConfigError
from secbridge.model.alias import Alias
from secbridge.model.reply import LetterFacts, ReplyKind, ReplyText
from secbridge.ports import NO_FACTS
from secbridge.rules import clinic
from secbridge.rules.commands import REJECTION_CLASSES
from secbridge.rules.language import normal_tag, ways_to_say
from secbridge.rules.replies import KEY_PROBLEMS

ENDING = ".j2"

TEMPLATES: dict[tuple[ReplyKind, bool], str] = {
    (ReplyKind.ACKNOWLEDGEMENT, True): "acknowledgement-encrypted.j2",
    (ReplyKind.ACKNOWLEDGEMENT, False): "acknowledgement-clear.j2",
    **{
        (kind, False): f"{kind}{ENDING}"
        for kind in ReplyKind
        if kind is not ReplyKind.ACKNOWLEDGEMENT
    },
    **{
        (kind, True): f"{kind}{ENDING}"
        for kind in ReplyKind
        if kind.is_letter or kind in {ReplyKind.INTAKE_PAUSED, ReplyKind.CLAIM}
    },
}
"""The file of each text, by kind and by whether it travels encrypted."""

NAMES = tuple(sorted({name.removesuffix(ENDING) for name in TEMPLATES.values()}))
"""Every text by its name."""

DEFAULT_LANGUAGE = "en"
"""The language of texts whose file names none."""

SAMPLE_CASE = "SB-2026-0001"
SAMPLE_FACTS = LetterFacts(
    text="[what the team writes]",
    reason_class=REJECTION_CLASSES[0],
    version="2.4.1",
    url="https://example.org/advisories/1",
    handler="Alice Example",
    link="https://tracker.example/issues/1",
)
"""What stands for the facts where a text is tried, or shown to an operator."""

_OTHER_FACTS = LetterFacts("-", REJECTION_CLASSES[-1], "-", "-", "-", "-", "-")
_SUBJECT = re.compile(r"Subject: ([^\r\n]{1,200})\n\n")


@dataclass(frozen=True, slots=True)
class Text:
    """One text in one language ("" where its file names none), and where it was found.

    ``folder`` is the operator's, or "" for a packaged one.
    """

    name: str
    language: str
    folder: str
    template: Template

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}.{self.language}{ENDING}" if self.language else f"{self.name}{ENDING}"


class TemplateWording:
    """The texts of one installation."""

    def __init__(self, aliases: Iterable[Alias]) -> None:
        """Read every text of every alias and try it.  Raises ConfigError for an unusable one."""
        self._texts = {alias.address: _load(alias) for alias in aliases}

    def write(
        self,
        kind: ReplyKind,
        *,
        alias: Alias,
        case_id: str,
        encrypted: bool,
        code: str | None = None,
        warnings: Sequence[str] = (),
        language: str = "",
        facts: LetterFacts = NO_FACTS,
    ) -> ReplyText:
        """Return the text (``ports.Wording``); KeyError where there is none."""
        chosen = self.choose(kind, alias=alias, encrypted=encrypted, language=language)
        values = _Values(alias, case_id, encrypted, code, tuple(warnings), facts)
        return _rendered(chosen.template, values)

    def choose(self, kind: ReplyKind, *, alias: Alias, encrypted: bool, language: str) -> Text:
        """Return the text that is nearest to a language: it, the alias's, or the one of none."""
        texts = self._texts[alias.address]
        name = TEMPLATES[kind, encrypted].removesuffix(ENDING)
        return next(texts[name, tag] for tag in _languages(language, alias) if (name, tag) in texts)

    def texts_of(self, alias: Alias) -> Sequence[Text]:
        """Return every text that an alias has, by name and language."""
        return [text for _, text in sorted(self._texts[alias.address].items())]


def _languages(language: str, alias: Alias) -> Iterator[str]:
    """Name the languages in which a text is looked for, the best first; "" is the last one."""
    for wanted in (language.lower(), alias.language):
        for tag in ways_to_say(wanted):
            yield tag
            if tag == DEFAULT_LANGUAGE:
                yield ""
    yield ""


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


def _load(alias: Alias) -> dict[tuple[str, str], Text]:
    """Return the texts of an alias by name and language, each of them tried."""
    if alias.templates and not Path(alias.templates).is_dir():
        setting = f"alias {alias.address}: templates"
        raise ConfigError(alias.templates, setting, "is no folder", "make it, or leave it out")
    own = _listed(alias, FileSystemLoader(alias.templates)) if alias.templates else {}
    packaged = {
        key: file for key, file in _listed(alias, _package()).items() if (key[0], "") not in own
    }
    ours, theirs = _environments(alias.templates)
    texts = {}
    for (name, language), file in {**packaged, **own}.items():
        is_own = (name, language) in own
        folder, environment = (alias.templates, theirs) if is_own else ("", ours)
        try:
            text = Text(name, language, folder, environment.get_template(file))
            _try(text, alias)
        except (TemplateError, ValueError, LookupError, OSError) as exc:
            raise _unusable(alias, folder, file, str(exc)) from exc
        texts[name, language] = text
    return texts


def _listed(alias: Alias, loader: FileSystemLoader | PackageLoader) -> dict[tuple[str, str], str]:
    """Return the files of a folder by the name and the language of their text.

    A name that begins with ``_`` is that of a piece which others include.
    """
    found = {}
    for file in loader.list_templates():
        if "/" in file or file.startswith("_") or not file.endswith(ENDING):
            continue
        name, _, language = file.removesuffix(ENDING).partition(".")
        if name not in NAMES:
            names = ", ".join(NAMES)
            raise _misnamed(alias, file, f"no text is called {name!a}", f"one of: {names}")
        if "." in file.removesuffix(ENDING) and (not language or normal_tag(language) != language):
            mend = "a language in lower case, with a region or without: de, pt-br"
            raise _misnamed(alias, file, f"{language!a} is not how we name a language", mend)
        found[name, language] = file
    return found


def _misnamed(alias: Alias, file: str, problem: str, mend: str) -> ConfigError:
    return ConfigError(
        str(Path(alias.templates) / file), f"alias {alias.address}: templates", problem, mend
    )


def _unusable(alias: Alias, folder: str, file: str, problem: str) -> ConfigError:
    return ConfigError(
        str(Path(folder) / file) if folder else file,
        f"alias {alias.address}: templates",
        f"the text cannot be used: {problem}",
        "correct the template, or delete the file to use the packaged text",
    )


@cache
def _package() -> PackageLoader:
    return PackageLoader("secbridge.outbound", "templates")


@cache
def _packaged() -> ImmutableSandboxedEnvironment:
    """Return what compiles the packaged texts, once for all aliases that have no others."""
    return _environment("")


def _environments(
    folder: str,
) -> tuple[ImmutableSandboxedEnvironment, ImmutableSandboxedEnvironment]:
    """Return what compiles the packaged texts, and the operator's; the latter's pieces go first."""
    if not folder:
        return _packaged(), _packaged()
    theirs = _environment(folder)
    has_pieces = any(name.startswith("_") for name in FileSystemLoader(folder).list_templates())
    return theirs if has_pieces else _packaged(), theirs


def _environment(folder: str) -> ImmutableSandboxedEnvironment:
    packaged = _package()
    loader = ChoiceLoader([FileSystemLoader(folder), packaged]) if folder else packaged
    return ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=False,  # text/plain: escaping for HTML would garble it
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


# ── Trying ───────────────────────────────────────────────────────────────────────────────────────


def _try(text: Text, alias: Alias) -> None:
    """Write a text in each of its forms.  Raises what says that one of them cannot be sent."""
    for (kind, encrypted), file in TEMPLATES.items():
        if file == f"{text.name}{ENDING}":
            for values in _forms(kind, alias, encrypted=encrypted):
                written = _rendered(text.template, values)
                if kind.is_letter:
                    _try_letter(text.template, values, written)


def _forms(kind: ReplyKind, alias: Alias, *, encrypted: bool) -> Iterator[_Values]:
    sample = _Values(alias, SAMPLE_CASE, encrypted, None, (), SAMPLE_FACTS)
    match kind:
        case ReplyKind.NOTICE_KEY_UNUSABLE:
            yield from (replace(sample, code=code) for code in KEY_PROBLEMS)
        case ReplyKind.REJECTION:
            for reason in REJECTION_CLASSES:
                yield replace(sample, facts=replace(SAMPLE_FACTS, reason_class=reason))
        case ReplyKind.ACKNOWLEDGEMENT | ReplyKind.INTAKE_PAUSED:
            yield sample
            yield replace(sample, warnings=tuple(clinic.WARNINGS))
        case ReplyKind.CLAIM:
            yield sample
            yield replace(sample, facts=replace(SAMPLE_FACTS, link=""))
        case _:
            yield sample
            yield replace(sample, facts=replace(SAMPLE_FACTS, signer="Alice Example"))


def _try_letter(template: Template, values: _Values, written: ReplyText) -> None:
    """Raise ValueError where a letter loses what a person typed, or says it in its subject."""
    if SAMPLE_FACTS.text not in written.body:
        raise ValueError("what the team writes must stand in it: {{ text }}")
    if values.case_id not in written.subject:
        raise ValueError("its subject must name the case: {{ case_id }}")
    if _rendered(template, replace(values, facts=_OTHER_FACTS)).subject != written.subject:
        raise ValueError("its subject may hold nothing that a person typed")


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False)
class _Values:
    """All that a text is made of."""

    alias: Alias
    case_id: str
    encrypted: bool
    code: str | None
    warnings: tuple[str, ...]
    facts: LetterFacts


def _rendered(template: Template, values: _Values) -> ReplyText:
    """Render, and take the ``Subject:`` line from the body.  Raises ValueError without one."""
    alias, code, facts = values.alias, values.code, values.facts
    text = template.render(
        case_id=values.case_id,
        alias=alias.address,
        team=alias.name or alias.address,
        fingerprint=grouped(alias.signing_key),
        fingerprint_bare=alias.signing_key,
        encrypted=values.encrypted,
        code=code or "",
        problem=clinic.PROBLEMS[code] if code else "",
        mend=clinic.MENDS[code] if code else "",
        warnings=[
            {"code": one, "problem": clinic.WARNINGS[one], "mend": clinic.WARNING_MENDS[one]}
            for one in values.warnings
            if one in clinic.WARNINGS
        ],
        text=facts.text,
        reason_class=facts.reason_class,
        version=facts.version,
        url=facts.url,
        handler=facts.handler,
        link=facts.link,
        signer=facts.signer,
    )
    found = _SUBJECT.match(text)
    subject = "".join(filter(str.isprintable, found[1])).strip() if found else ""
    if found is None or not subject:
        raise ValueError('it must begin with "Subject: …" (200 characters) and an empty line')
    return ReplyText(subject, text[found.end() :].strip("\n") + "\n")


def grouped(fingerprint: str) -> str:
    """Return a fingerprint as people read it aloud: groups of four, the middle marked."""
    groups = [fingerprint[start : start + 4] for start in range(0, len(fingerprint), 4)]
    middle = (len(groups) + 1) // 2
    return " ".join(groups[:middle]) + "  " + " ".join(groups[middle:])

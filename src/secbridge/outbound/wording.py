"""Which words do we send?  Jinja2 templates, read and tried once at start.

A text knows the case id, our own names, our fingerprint and a code; nothing of a mail can reach it,
because nothing of a mail is handed in.  An operator's own texts lie in the alias's ``templates``
folder under the names of the packaged ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
from secbridge.rules.replies import KEY_PROBLEMS

TEMPLATES = {
    (ReplyKind.ACKNOWLEDGEMENT, True): "acknowledgement-encrypted.j2",
    (ReplyKind.ACKNOWLEDGEMENT, False): "acknowledgement-clear.j2",
    (ReplyKind.NOTICE_SEND_KEY, False): "notice-send-key.j2",
    (ReplyKind.NOTICE_USE_THIS_KEY, False): "notice-use-this-key.j2",
    (ReplyKind.NOTICE_KEY_UNUSABLE, False): "notice-key-unusable.j2",
}
"""The file of each text, by kind and by whether it travels encrypted."""

_SUBJECT = re.compile(r"Subject: ([^\r\n]{1,200})\n\n")


class TemplateWording:
    """The texts of one installation."""

    def __init__(self, aliases: Iterable[Alias]) -> None:
        """Read every text of every alias and try it.  Raises ConfigError for an unusable one."""
        self._templates = {alias.address: _load(alias) for alias in aliases}

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
        template = self._templates[alias.address][kind, encrypted]
        return _rendered(template, alias, case_id, code, warnings)


def _load(alias: Alias) -> dict[tuple[ReplyKind, bool], Template]:
    if alias.templates and not Path(alias.templates).is_dir():
        setting = f"alias {alias.address}: templates"
        raise ConfigError(alias.templates, setting, "is no folder", "make it, or leave it out")
    environment = _environment(alias.templates)
    loaded = {}
    for key, name in TEMPLATES.items():
        try:
            template = environment.get_template(name)
            for code in KEY_PROBLEMS if key[0] is ReplyKind.NOTICE_KEY_UNUSABLE else (None,):
                _rendered(template, alias, "SB-2026-0001", code, tuple(clinic.WARNINGS))
        except (TemplateError, ValueError, OSError) as exc:
            raise _unusable(alias, name, exc) from exc
        loaded[key] = template
    return loaded


def _unusable(alias: Alias, name: str, exc: Exception) -> ConfigError:
    where = str(Path(alias.templates) / name) if alias.templates else name
    return ConfigError(
        where,
        f"alias {alias.address}: templates",
        f"the text cannot be used: {exc}",
        "correct the template, or delete the file to use the packaged text",
    )


def _environment(folder: str) -> ImmutableSandboxedEnvironment:
    packaged = PackageLoader("secbridge.outbound", "templates")
    loader = ChoiceLoader([FileSystemLoader(folder), packaged]) if folder else packaged
    return ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=False,  # text/plain: escaping for HTML would garble it
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def _rendered(
    template: Template, alias: Alias, case_id: str, code: str | None, warnings: Sequence[str]
) -> ReplyText:
    """Render, and take the ``Subject:`` line from the body.  Raises ValueError without one."""
    text = template.render(
        case_id=case_id,
        alias=alias.address,
        team=alias.name or alias.address,
        fingerprint=grouped(alias.signing_key),
        fingerprint_bare=alias.signing_key,
        code=code or "",
        problem=clinic.PROBLEMS[code] if code else "",
        mend=clinic.MENDS[code] if code else "",
        warnings=[
            {"code": one, "problem": clinic.WARNINGS[one], "mend": clinic.WARNING_MENDS[one]}
            for one in warnings
            if one in clinic.WARNINGS
        ],
    )
    subject = _SUBJECT.match(text)
    if subject is None:
        raise ValueError('it must begin with "Subject: …" and an empty line')
    return ReplyText(subject[1].strip(), text[subject.end() :].strip("\n") + "\n")


def grouped(fingerprint: str) -> str:
    """Return a fingerprint as people read it aloud: groups of four, the middle marked."""
    groups = [fingerprint[start : start + 4] for start in range(0, len(fingerprint), 4)]
    middle = (len(groups) + 1) // 2
    return " ".join(groups[:middle]) + "  " + " ".join(groups[middle:])

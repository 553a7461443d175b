"""Which texts do we send, and how do they read?  Shown with samples, before anybody gets one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secbridge.cli.boundary import CommandFailed
from secbridge.cli.common import (
    ConfigOption,
    JsonOption,
    console,
    load_for_command,
    print_json,
    table,
)

if TYPE_CHECKING:  # the templates and the settings load when a command needs them
    from collections.abc import Sequence

    from secbridge.model.alias import Alias
    from secbridge.model.reply import ReplyKind, ReplyText
    from secbridge.outbound.wording import TemplateWording, Text
    from secbridge.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="The texts of our mails: which there are, in which languages, and how they read.",
    epilog="Example: secbridge template preview holding --language de",
)

AliasOption = Annotated[
    str | None,
    typer.Option("--alias", metavar="ADDRESS", help="Whose texts; else those of the first alias."),
]


# ── List ─────────────────────────────────────────────────────────────────────────────────────────


@app.command("list")
def list_(
    alias: AliasOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List the texts with their languages, and which of them are your own.

    Example: secbridge template list --alias security@example.org
    """
    chosen, wording = _wording(load_for_command(config), alias)
    texts = wording.texts_of(chosen)
    if as_json:
        for text in texts:
            print_json(_row(text))
        return
    shown = table("text", "languages", "your own")
    for name in dict.fromkeys(text.name for text in texts):
        of_name = [text for text in texts if text.name == name]
        shown.add_row(name, _languages(of_name), _languages([one for one in of_name if one.folder]))
    console().print(shown)


def _row(text: Text) -> dict[str, Any]:
    from secbridge.outbound.wording import DEFAULT_LANGUAGE

    return {
        "name": text.name,
        "language": text.language or DEFAULT_LANGUAGE,
        "file": text.file,
        "folder": text.folder or None,
    }


def _languages(texts: Sequence[Text]) -> str:
    return ", ".join(_row(text)["language"] for text in texts)


# ── Preview ──────────────────────────────────────────────────────────────────────────────────────


@app.command()
def preview(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A text, as `template list` has it.")],
    alias: AliasOption = None,
    language: Annotated[
        str, typer.Option(metavar="TAG", help="The reporter's language, such as de or pt-br.")
    ] = "",
    encrypted: Annotated[
        bool | None,
        typer.Option("--encrypted/--clear", help="How it travels, where both are possible."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the team writes in it.")
    ] = None,
    signer: Annotated[
        str, typer.Option(metavar="NAME", help="Whose name stands below; else the team's.")
    ] = "",
    reason: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The class of a rejection.")
    ] = None,
    code: Annotated[
        str, typer.Option(metavar="CODE", help="What is wrong with the reporter's key.")
    ] = "expired",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the subject and the body of a text, with sample facts.  Nothing is sent.

    Where there is no text in a language, the one that a reporter would get is shown.

    Example: secbridge template preview holding --language de
    """
    from secbridge.outbound.wording import SAMPLE_CASE, SAMPLE_FACTS
    from secbridge.rules.language import normal_tag

    if language and not (tag := normal_tag(language)):
        raise CommandFailed(f"{language!a} is no language. Name one such as de or pt-br.")
    tag = normal_tag(language)
    chosen, wording = _wording(load_for_command(config), alias)
    kind, is_encrypted = _kind(name, encrypted)
    facts = replace(SAMPLE_FACTS, signer=signer, reason_class=_reason(reason))
    written = wording.write(
        kind,
        alias=chosen,
        case_id=SAMPLE_CASE,
        encrypted=is_encrypted,
        code=_code(kind, code),
        language=tag,
        facts=facts if text is None else replace(facts, text=text),
    )
    found = wording.choose(kind, alias=chosen, encrypted=is_encrypted, language=tag)
    _show(found, written, encrypted=is_encrypted, as_json=as_json)


def _show(found: Text, written: ReplyText, *, encrypted: bool, as_json: bool) -> None:
    if as_json:
        words = {"encrypted": encrypted, "subject": written.subject, "body": written.body}
        print_json({**_row(found), **words})
        return
    how = "encrypted and signed" if encrypted else "in clear, signed"
    whose = f"your own, in {found.folder}" if found.folder else "packaged"
    console().print(f"{found.file} ({whose}), {how}:\n")
    typer.echo(f"Subject: {written.subject}\n\n{written.body}", nl=False)


def _kind(name: str, encrypted: bool | None) -> tuple[ReplyKind, bool]:
    """Return which text a name means, and how it travels: encrypted, unless it cannot or shall not.

    ``acknowledgement`` alone stands for its two texts.
    """
    from secbridge.outbound.wording import ENDING, NAMES, TEMPLATES

    found = [key for key, file in TEMPLATES.items() if name in {file.removesuffix(ENDING), key[0]}]
    if not found:
        raise CommandFailed(f"There is no text {name!a}. There are: {', '.join(NAMES)}.")
    wanted = [key for key in found if encrypted is None or key[1] is encrypted]
    if not wanted:
        way = "encrypted" if encrypted else "in clear"
        raise CommandFailed(f"{name} never travels {way}.")
    return max(wanted, key=lambda key: key[1])


def _reason(reason: str | None) -> str:
    from secbridge.rules.commands import REJECTION_CLASSES

    if reason is not None and reason not in REJECTION_CLASSES:
        classes = ", ".join(REJECTION_CLASSES)
        raise CommandFailed(f"There is no class {reason!a}. There are: {classes}.")
    return reason or REJECTION_CLASSES[0]


def _code(kind: ReplyKind, code: str) -> str | None:
    from secbridge.model.reply import ReplyKind
    from secbridge.rules.replies import KEY_PROBLEMS

    if code not in KEY_PROBLEMS:
        raise CommandFailed(f"There is no code {code!a}. There are: {', '.join(KEY_PROBLEMS)}.")
    return code if kind is ReplyKind.NOTICE_KEY_UNUSABLE else None


# ── Whose? ───────────────────────────────────────────────────────────────────────────────────────


def _wording(settings: Settings, address: str | None) -> tuple[Alias, TemplateWording]:
    """Return an alias and its texts, each of them read and tried as at the start of the daemon."""
    from secbridge.outbound.wording import TemplateWording

    aliases = {alias.address: alias for alias in settings.aliases()}
    if address is None:
        chosen = next(iter(aliases.values()), None)
    else:
        chosen = aliases.get(address.lower()) or aliases.get(address)
    if chosen is None:
        known = ", ".join(aliases) or "none"
        raise CommandFailed(f"There is no such alias. The configuration has: {known}.")
    return chosen, TemplateWording([chosen])

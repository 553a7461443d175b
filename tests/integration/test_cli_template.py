"""template: which texts there are, and how they read, before a reporter gets one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.commands import secbridge
from typer.testing import CliRunner, Result

from secbridge.cli import app
from secbridge.cli.boundary import CommandFailed

OWN = "Subject: Bonjour [{{ case_id }}]\n\n{{ text }}\n\n{{ signer or team }}\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a configuration with an alias whose texts are ours, and one with a French reply."""
    folder = tmp_path_factory.mktemp("templates")
    (folder / "reply.fr.j2").write_text(OWN, encoding="utf-8")
    file = folder / "secbridge.toml"
    key = "A" * 40
    file.write_text(
        f'[[alias]]\naddress = "security@example.org"\nrole_keys = ["{key}"]\n'
        f'[[alias]]\naddress = "psirt@example.org"\nrole_keys = ["{key}"]\nlanguage = "fr"\n'
        f'name = "Example PSIRT"\ntemplates = "{folder}"\n',
        encoding="utf-8",
    )
    return file


def typed(*arguments: str, config: Path) -> Result:
    """Return what ``secbridge template …`` does, without a process of its own."""
    return CliRunner().invoke(app, ["template", *arguments, "--config", str(config)])


def test_the_texts_are_listed_with_their_languages(config: Path) -> None:
    """And which of them are the operator's own."""
    listed = typed("list", "--alias", "psirt@example.org", config=config).stdout
    assert ["reply", "en,", "de,", "fr", "fr"] in [line.split() for line in listed.splitlines()]
    rows = [json.loads(line) for line in typed("list", "--json", config=config).stdout.splitlines()]
    assert {"name": "holding", "language": "de", "file": "holding.de.j2", "folder": None} in rows
    assert not any(row["folder"] for row in rows)


def test_a_preview_shows_subject_and_body_and_sends_nothing(config: Path) -> None:
    """In the language that a reporter would get, with what the team would write."""
    shown = secbridge(
        "template", "preview", "need-info", "--language", "de-AT", "--text", "Welche?",
        config=config,
    )  # fmt: skip
    assert shown.status == 0
    assert shown.text.startswith("need-info.de.j2 (packaged), encrypted and signed:\n\nSubject: ")
    assert "Subject: Eine Frage zu Ihrer Meldung [SB-2026-0001]\n\nGuten Tag," in shown.text
    assert "müssen wir mehr wissen:\n\nWelche?\n\nBitte antworten Sie" in shown.text


def test_a_preview_for_machines_says_which_file_it_is(config: Path) -> None:
    """The operator's own, found by the alias's language."""
    done = typed(
        "preview", "reply", "--alias", "psirt@example.org", "--clear", "--text", "Oui.",
        "--signer", "Alice", "--json", config=config,
    )  # fmt: skip
    assert json.loads(done.stdout) == {
        "name": "reply",
        "language": "fr",
        "file": "reply.fr.j2",
        "folder": str(config.parent),
        "encrypted": False,
        "subject": "Bonjour [SB-2026-0001]",
        "body": "Oui.\n\nAlice\n",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["holdng"], "There is no text 'holdng'. There are: acknowledgement-clear, ack"),
        (["notice-send-key", "--encrypted"], "notice-send-key never travels encrypted."),
        (["reply", "--language", "german-"], "'german-' is no language. Name one such as de"),
        (["reply", "--alias", "x@example.org"], "The configuration has: security@example.org, "),
        (["rejection", "--reason", "bad"], "There is no class 'bad'. There are: not-a-vulner"),
        (["notice-key-unusable", "--code", "bad"], "There is no code 'bad'. There are: expired"),
    ],
)
def test_what_cannot_be_shown_is_said_with_what_can(
    config: Path, arguments: list[str], sentence: str
) -> None:
    """In one sentence."""
    done = typed("preview", *arguments, config=config)
    assert isinstance(done.exception, CommandFailed)
    assert sentence in str(done.exception)


def test_a_text_that_cannot_be_used_is_told_as_at_start(config: Path, tmp_path: Path) -> None:
    """So that it can be mended before the daemon is restarted."""
    (tmp_path / "reply.j2").write_text("Hello", encoding="utf-8")
    changed = tmp_path / "secbridge.toml"
    changed.write_text(config.read_text().replace(str(config.parent), str(tmp_path)))
    done = secbridge("template", "list", "--alias", "psirt@example.org", config=changed)
    assert (done.status, done.out) == (78, b"")
    assert str(tmp_path / "reply.j2") in done.err

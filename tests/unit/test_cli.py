"""Commands: their help, their start, their last net, and how an envelope is guessed."""

from __future__ import annotations

import inspect as signatures
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main
from tests.support.commands import secbridge

from secbridge import settings
from secbridge.cli import app, boundary, common
from secbridge.cli import demo as demo_command
from secbridge.cli.delivery import StateOption
from secbridge.cli.envelope import guess, without_mbox_line
from secbridge.cli.inspection import nothing
from secbridge.cli.mail import StateOption as MailState
from secbridge.errors import ConfigError, Deferral, IllegalMove, PermanentFault
from secbridge.model.delivery import OutgoingState, State


def commands() -> Iterator[tuple[str, click.Command]]:
    """Return every command with its full name."""
    group = typer.main.get_command(app)
    assert hasattr(group, "commands")
    for name, command in group.commands.items():
        for inner_name, inner in getattr(command, "commands", {}).items():
            yield f"{name} {inner_name}", inner
        if not hasattr(command, "commands"):
            yield name, command


@pytest.mark.parametrize(("name", "command"), [pytest.param(*one, id=one[0]) for one in commands()])
def test_every_command_shows_an_example_of_itself(name: str, command: click.Command) -> None:
    """One reads the example before the options."""
    assert f"Example: secbridge {name}" in (command.help or "")


@pytest.mark.parametrize(("name", "command"), [pytest.param(*one, id=one[0]) for one in commands()])
def test_every_command_that_answers_answers_machines_too(name: str, command: click.Command) -> None:
    """All but those that run in the foreground have --json."""
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in options) is (name not in {"run", "listen", "work", "demo"})


def test_the_group_has_the_promised_commands() -> None:
    """The names that documentation, scripts and units use."""
    assert {name for name, _ in commands()} == {
        "run", "listen", "work", "check", "inspect", "demo",
        "delivery list", "delivery show", "delivery raw", "delivery files", "delivery retry",
        "delivery release", "issue list", "issue show", "issue export", "issue comment",
        "issue assign", "issue label", "issue due", "issue close", "issue reopen",
        "key show", "key check", "key import", "key forget", "key accept",
        "mail list", "mail show", "template list", "template preview",
    }  # fmt: skip


def test_the_demo_takes_what_its_room_takes() -> None:
    """Its options stand twice, so that the help need not load the whole house."""
    from secbridge.cli.demo import demo

    def options(function: object) -> list[str]:
        assert callable(function)
        return list(signatures.signature(function).parameters)

    assert options(demo_command) == options(demo)


def test_the_states_of_the_option_are_those_of_a_delivery() -> None:
    """They stand twice, so that the help need not load the model."""
    assert [state.value for state in StateOption] == [state.value for state in State]
    assert [state.value for state in MailState] == [state.value for state in OutgoingState]


def test_the_default_path_is_the_same_in_both_places() -> None:
    """It stands twice, so that inspect need not load the settings."""
    assert common.DEFAULT_CONFIG == settings.DEFAULT_CONFIG


def test_help_loads_none_of_the_heavy_rooms() -> None:
    """A prompt answer: no database, no gpg, no client library, no settings."""
    code = (
        "import sys; import secbridge.cli; "
        "heavy = {'sqlalchemy', 'gnupg', 'pydantic', 'gitlab', 'aiosmtplib', 'jinja2', "
        "'pysequoia', 'structlog', 'alembic'}; print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_daemon_loads_nothing_that_only_others_need() -> None:
    """What it loads it has for months: its children read HTML, and few have webhooks."""
    code = (
        "import sys; import secbridge.daemon; "
        "others = {'selectolax', 'alembic', 'uvicorn', 'gitlab', 'github', 'jira'}; "
        "print(sorted(others & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_version_is_one_line() -> None:
    """For bug reports."""
    done = secbridge("--version")
    assert done.status == 0
    assert done.text.startswith("secbridge ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["inspect"], ["delivery", "show"]])
def test_wrong_usage_is_status_two_on_stderr(arguments: list[str]) -> None:
    """Nothing is on stdout, where a script would take it for an answer."""
    done = secbridge(*arguments)
    assert (done.status, done.out) == (2, b"")
    assert "Usage:" in done.err


def test_a_bad_configuration_ends_the_daemon_with_seventy_eight(tmp_path: Path) -> None:
    """EX_CONFIG: systemd does not start it again; every mistake is told at once."""
    path = tmp_path / "secbridge.toml"
    path.write_text("[daemon]\nworkers = 0\nlog_level = 'loud'\n")
    done = secbridge("run", config=path)
    assert (done.status, done.out) == (78, b"")
    assert "daemon.workers: must be at least 1" in done.err
    assert "daemon.log_level: must be 'debug', 'info', 'warning' or 'error'" in done.err
    assert "alias: is missing" in done.err
    assert "Traceback" not in done.err


# ── The last net ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (
            ConfigError("file", "a.b", "is missing", "add it"),
            78,
            "file: a.b: is missing\n  Mend: add it",
        ),
        (Deferral("gpg-timeout", "It took too long."), 2, "It took too long. (gpg-timeout)"),
        (
            PermanentFault("no-right", "Not allowed.", mend="Give it the right."),
            2,
            "Not allowed. (no-right)\nMend: Give it the right.",
        ),
        (IllegalMove("a delivery that is done cannot be retried"), 2, "cannot be retried"),
        (ValueError("hunter2"), 2, "a fault of its own: ValueError at test_cli.py"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_goes_wrong_is_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, text: str
) -> None:
    """Ours with their own words, others by their class: their text may hold anything."""
    with pytest.raises(SystemExit) as left, boundary.told():
        raise error
    told = capsys.readouterr().err
    assert left.value.code == status
    assert text in told
    assert "hunter2" not in told
    assert "Traceback" not in told


def test_all_notes_of_a_configuration_error_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """An operator mends everything at once."""
    error = ConfigError("file", "a", "is missing", "add it")
    error.add_note("file: b: is missing")
    with pytest.raises(SystemExit), boundary.told():
        raise error
    assert "file: b: is missing" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    """`secbridge … | head` closes the pipe early."""
    mail = tmp_path / "mail.eml"
    mail.write_bytes(b"From: a@x.example\r\n\r\n" + b"text\r\n" * 50_000)
    command = [sys.executable, "-m", "secbridge", "inspect", "--json", *[str(mail)] * 3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(10)
        running.stdout.close()
        told = running.stderr.read()
    assert b"Traceback" not in told
    assert b"Exception ignored" not in told


# ── Envelopes and rows ───────────────────────────────────────────────────────────────────────────


def test_a_guess_names_everybody_once_in_order() -> None:
    """Where it was delivered comes first, then To, then Cc; display names do not count."""
    guessed = guess(
        b'From: "b@x.example" <a@x.example>\r\nCc: c@x.example, d@x.example\r\n'
        b"To: Team <T@x.example>\r\nDelivered-To: d@x.example\r\n\r\n",
        sender=None,
        recipients=(),
    )
    assert guessed.reverse_path == "a@x.example"
    assert guessed.possible_aliases == ("d@x.example", "t@x.example", "c@x.example")


def test_a_mail_without_any_sender_is_still_no_bounce() -> None:
    """The null reverse-path means a bounce, so an unknown one is another."""
    guessed = guess(b"Subject: x\r\n\r\n", sender=None, recipients=())
    assert guessed.reverse_path.endswith(".invalid")


@pytest.mark.parametrize(
    ("content", "without"),
    [
        (b"From a@x.example Fri Nov 20\nSubject: x\n\n", b"Subject: x\n\n"),
        (b"From a@x.example Fri Nov 20\r\nSubject: x\r\n\r\n", b"Subject: x\r\n\r\n"),
        (b"From: a@x.example\n\n", b"From: a@x.example\n\n"),
        (b"From : a@x.example\n\n", b"From : a@x.example\n\n"),
        (b"From nobody", b""),
        (b"", b""),
    ],
)
def test_only_the_line_of_an_mbox_is_skipped(content: bytes, without: bytes) -> None:
    """RFC 4155 puts it before the header; a field named From is none."""
    assert without_mbox_line(content) == without


def test_a_row_without_a_mail_has_every_key() -> None:
    """Whoever reads the lines needs no second shape."""
    row = nothing("a", "no-such-file")
    assert (row["file"], row["error"], row["route"]) == ("a", "no-such-file", None)
    assert len(row) == 18

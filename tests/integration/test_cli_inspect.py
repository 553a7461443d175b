"""inspect: what would happen to a mail, told without side effects, in the words of its schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.support import mails
from tests.support.commands import Done, secbridge
from tests.support.keys import REPORTER, ROLE, Keys, Ring, copied_ring, fresh_ring
from tests.support.reports import CANARY, encrypted_report, plain_report, report_of
from tests.support.running import write_config

CHECKOUT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((CHECKOUT / "docs" / "inspect.schema.json").read_text())


def valid(done: Done, *, files: int = 1) -> list[Any]:
    """Return the rows, which keep to the schema, one for each file."""
    validator = Draft202012Validator(SCHEMA)
    rows = done.rows
    assert [error.message for row in rows for error in validator.iter_errors(row)] == []
    assert len(rows) == files
    return rows


def inspected(path: Path, *arguments: str | Path, status: int = 0, **given: Any) -> Any:
    """Return the row of one mail."""
    done = secbridge("inspect", path, "--json", *arguments, **given)
    assert done.status == status, done.err
    assert "Traceback" not in done.err
    (row,) = valid(done)
    return row


def traces(folder: Path) -> dict[str, str]:
    """Return what lies under a folder: every file with its content's hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def mail(tmp_path: Path) -> Any:
    """Return a function that writes a mail into a file."""

    def write(content: bytes, name: str = "mail.eml") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def config(tmp_path: Path, role_ring: Ring, keys: Keys) -> Path:
    """Return a configuration with one alias, whose daemon never ran."""
    return write_config(tmp_path, role_home=role_ring.home, role_key=keys.role_fpr, relay_port=1)


# ── What a mail is ───────────────────────────────────────────────────────────────────────────────


def test_an_encrypted_and_signed_report_is_opened_with_the_ring_alone(
    mail: Any, keys: Keys, role_ring: Ring
) -> None:
    """Without a configuration the recipient counts as an alias, in the embedded tracker."""
    path = mail(report_of(keys))
    row = inspected(path, "--gnupghome", role_ring.home)
    assert row["file"] == str(path)
    assert row["error"] is None
    assert row["protection"] == "encrypted+signed"
    assert row["decryption"] == {"ok": True, "reason": None}
    assert [layer["kind"] for layer in row["layers"]] == ["encrypted", "signed"]
    assert row["layers"][0]["fingerprints"] == [keys.role_fpr]
    (signature,) = row["signatures"]
    assert signature == {
        "verdict": "good",
        "fingerprint": keys.reporter_fpr,
        "covers": "whole",
        "signer_is_sender": True,
        "signer_is_known": None,
    }
    assert CANARY in row["text"]
    assert row["from"] == [REPORTER]
    assert (row["class"], row["may_reply"], row["reply_refused_because"]) == ("report", True, None)
    assert row["route"] == {"alias": ROLE, "tracker": "local", "project": "security"}


def test_a_report_in_clear_needs_no_ring(mail: Any) -> None:
    """Nothing is asked of gpg; that no ring was named is told on stderr."""
    done = secbridge("inspect", mail(plain_report().as_bytes()), "--json")
    (row,) = valid(done)
    assert (row["protection"], row["class"]) == ("none", "report")
    assert row["decryption"] == {"ok": None, "reason": None}
    assert "--gnupghome" in done.err


def test_a_report_to_another_key_is_undecryptable(mail: Any, keys: Keys, role_ring: Ring) -> None:
    """It is a fact about the mail, so the status is 0 and there is no error."""
    content = encrypted_report(keys.stranger, keys.stranger_fpr, keys.stranger_fpr)
    row = inspected(mail(content), "--gnupghome", role_ring.home)
    assert row["protection"] == "undecryptable"
    assert row["decryption"] == {"ok": False, "reason": "no-secret-key"}
    assert (row["class"], row["reasons"]) == ("undecryptable", ["encrypted.undecryptable"])
    assert row["error"] is None


def test_an_unencrypted_attachment_beside_the_ciphertext_is_outside(
    mail: Any, keys: Keys, role_ring: Ring
) -> None:
    """What came beside the ciphertext is told apart from what came out of it."""
    armor = keys.reporter.encrypt(mails.text("Inside.\n"), keys.role_fpr)
    beside = mails.file(b"GIF89a", "proof.gif", media_type="image/gif")
    mixed = mails.multipart("mixed", [mails.encrypted(armor), beside], boundary="outermost")
    row = inspected(mail(mails.mail(mixed)), "--gnupghome", role_ring.home)
    assert row["text"].strip() == "Inside."
    (attachment,) = row["attachments"]
    assert attachment == {
        "name": "proof.gif",
        "type": "image/gif",
        "size": 6,
        "encrypted": False,
        "outside_encryption": True,
    }
    assert row["outside_encryption"] != ""


def test_a_line_of_an_mbox_at_the_beginning_is_skipped(mail: Any) -> None:
    """Mails are often saved from an mbox; a From field with a blank is no such line."""
    content = plain_report().as_bytes()
    with_line = b"From rita@example.net Fri Nov 20 12:00:00 2026\n" + content
    rows = [
        inspected(mail(with_line, "one.eml")),
        inspected(mail(content, "two.eml")),
        inspected(mail(content.replace(b"From: ", b"From : ", 1), "three.eml")),
    ]
    assert [row["from"] for row in rows] == [[REPORTER]] * 3
    assert [row["class"] for row in rows] == ["report"] * 3


# ── What is no mail ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", "empty"), (b"\0" * 1000, "no-header"), (b"\xff\xfe nothing\r\n", "no-header")],
    ids=["empty", "zeros", "bytes"],
)
def test_bytes_that_are_no_mail_have_an_error_and_status_zero(
    mail: Any, content: bytes, error: str
) -> None:
    """The daemon would file them for a person to look at; they are no failure of the command."""
    row = inspected(mail(content))
    assert (row["error"], row["class"]) == (error, "other")


def test_a_file_that_cannot_be_read_has_a_row_too(tmp_path: Path, mail: Any) -> None:
    """One line for each file, whatever the file is."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    good = mail(plain_report().as_bytes())
    done = secbridge("inspect", tmp_path / "none", tmp_path, loop, good, "--json")
    assert done.status == 0
    assert [row["error"] for row in valid(done, files=4)] == [
        "no-such-file",
        "not-a-file",
        "unreadable",
        None,
    ]


def test_a_mail_that_the_intake_would_refuse_is_too_large(mail: Any, config: Path) -> None:
    """The limit is that of the configuration."""
    path = mail(plain_report().as_bytes())
    env = {"SECBRIDGE_INTAKE__MAX_SIZE": "100"}
    assert inspected(path, config=config, env=env)["error"] == "too-large"


def test_standard_input_is_a_file_too() -> None:
    """``-`` is a mail that comes by a pipe."""
    done = secbridge("inspect", "-", "--json", stdin=plain_report().as_bytes())
    (row,) = valid(done)
    assert (row["file"], row["class"]) == ("-", "report")


# ── The envelope ─────────────────────────────────────────────────────────────────────────────────


def headers(*lines: str) -> bytes:
    """Return a report with these header fields."""
    return "\r\n".join([*lines, "Subject: XSS", "", "A proof of concept.", ""]).encode()


@pytest.mark.parametrize(
    ("lines", "arguments", "alias"),
    [
        (["From: a@x.example", "To: One@x.example"], [], "one@x.example"),
        (["From: a@x.example", "Cc: two@x.example"], [], "two@x.example"),
        (["From: a@x.example", "To: friends:;", "Bcc: two@x.example"], [], "two@x.example"),
        (
            ["From: a@x.example", "To: one@x.example", "Delivered-To: two@x.example"],
            [],
            "two@x.example",
        ),
        (
            ["From: a@x.example", "To: one@x.example"],
            ["--recipient", "three@x.example"],
            "three@x.example",
        ),
        (["From: a@x.example", "To: a@x.example", "Cc: b@x.example"], [], "b@x.example"),
        (["From: a@x.example", "To: a@x.example"], [], None),
        (["Return-Path: <b@x.example>", "From: a@x.example", "To: b@x.example"], [], None),
        (
            ["From: a@x.example", "To: b@x.example"],
            ["--sender", "b@x.example"],
            None,
        ),
        (["From: a@x.example"], [], None),
    ],
)
def test_every_recipient_counts_as_an_alias_and_a_sender_never_does(
    mail: Any, lines: list[str], arguments: list[str], alias: str | None
) -> None:
    """Without a configuration; what the command line says wins over what the header says."""
    route = inspected(mail(headers(*lines)), *arguments)["route"]
    assert (route["alias"] if route else None) == alias


@pytest.mark.parametrize(
    ("lines", "arguments", "refusal"),
    [
        (["Return-Path: <>"], [], "null-sender"),
        (["Return-Path: <a@x.example>"], [], None),
        ([], [], None),
        ([], ["--sender", ""], "null-sender"),
        ([], ["--sender", "<>"], "null-sender"),
        (["Return-Path: <>"], ["--sender", "a@x.example"], None),
    ],
)
def test_the_reverse_path_is_told_by_return_path_or_the_command_line(
    mail: Any, lines: list[str], arguments: list[str], refusal: str | None
) -> None:
    """The null sender is never answered; a mail without the field is not taken for one."""
    content = headers(*lines, "From: a@x.example", "To: one@x.example")
    assert inspected(mail(content), *arguments)["reply_refused_because"] == refusal


def test_a_configured_alias_has_its_own_route(mail: Any, config: Path) -> None:
    """The route is that of the alias that the mail names; others of its recipients are not ours."""
    mailed = mail(headers("From: a@x.example", "To: other@x.example", f"Cc: {ROLE.upper()}"))
    assert inspected(mailed, config=config)["route"] == {
        "alias": ROLE,
        "tracker": "local",
        "project": "security",
    }
    refused = inspected(mailed, "--recipient", "other@x.example", config=config)
    assert refused["route"] is None


@pytest.mark.parametrize(
    ("recipient", "alias"),
    [("To: undisclosed-recipients:;", ROLE), ("To: somebody@x.example", None)],
)
def test_a_mail_without_recipients_came_for_the_only_alias(
    mail: Any, config: Path, recipient: str, alias: str | None
) -> None:
    """The header of a mail need not name its recipients; one that names others is not for us."""
    route = inspected(mail(headers("From: a@x.example", recipient)), config=config)["route"]
    assert (route["alias"] if route else None) == alias


# ── No side effects ──────────────────────────────────────────────────────────────────────────────


def test_the_key_ring_and_the_state_stay_as_they_were(
    mail: Any, keys: Keys, role_ring: Ring, config: Path
) -> None:
    """Neither locks nor certificates nor a new store are left behind."""
    state = config.parent / "state"
    before = traces(role_ring.home), traces(state)
    inspected(mail(report_of(keys)), config=config)
    inspected(mail(report_of(keys)), "--gnupghome", role_ring.home)
    assert (traces(role_ring.home), traces(state)) == before


def test_a_ring_that_cannot_be_written_serves_as_well(
    mail: Any, keys: Keys, role_ring: Ring
) -> None:
    """It is copied, so its own rights do not matter as long as it can be read."""
    role_ring.home.chmod(0o500)
    try:
        row = inspected(mail(report_of(keys)), "--gnupghome", role_ring.home)
    finally:
        role_ring.home.chmod(0o700)
    assert row["protection"] == "encrypted+signed"


def test_each_file_is_looked_at_as_though_it_were_the_only_one(
    mail: Any, keys: Keys, role_ring: Ring
) -> None:
    """A certificate that came with one mail does not make the next one's signer known."""
    detached = keys.reporter.sign_detached(signed := mails.text("Signed.\n"), keys.reporter_fpr)
    keyless = mail(mails.mail(mails.signed(signed, detached)), "keyless.eml")
    with_key = mail(report_of(keys), "with-key.eml")
    done = secbridge("inspect", keyless, with_key, keyless, "--json", "--gnupghome", role_ring.home)
    verdicts = [row["signatures"][0]["verdict"] for row in valid(done, files=3)]
    assert verdicts == ["unknown_key", "good", "unknown_key"]


# ── Passphrases and faults of ours ───────────────────────────────────────────────────────────────


@pytest.fixture
def locked() -> Iterator[tuple[Ring, str]]:
    """Return a ring whose role key has a passphrase, and the key's fingerprint."""
    with fresh_ring(passphrase="open sesame") as ring:
        yield ring, ring.make_key(f"Example Security <{ROLE}>")


def to_locked(locked: tuple[Ring, str], keys: Keys) -> bytes:
    """Return a report to the locked key."""
    ring, fingerprint = locked
    with copied_ring(keys.reporter) as reporter:
        reporter.take(ring.export(fingerprint))
        return encrypted_report(reporter, keys.reporter_fpr, fingerprint)


def test_the_passphrase_comes_from_a_file(
    mail: Any, keys: Keys, locked: tuple[Ring, str], tmp_path: Path
) -> None:
    """Never from the command line, where everybody sees it."""
    (tmp_path / "phrase").write_text("open sesame\n")
    path = mail(to_locked(locked, keys))
    row = inspected(path, "--gnupghome", locked[0].home, "--passphrase-file", tmp_path / "phrase")
    assert row["protection"] == "encrypted+signed"


@pytest.mark.parametrize("phrase", ["wrong", None])
def test_a_wrong_passphrase_is_a_fault_of_ours_and_no_verdict(
    mail: Any, keys: Keys, locked: tuple[Ring, str], tmp_path: Path, phrase: str | None
) -> None:
    """The mail may be fine: the code says whose fault it is, and the status is not 0."""
    (tmp_path / "phrase").write_text(f"{phrase}\n")
    options = ["--passphrase-file", str(tmp_path / "phrase")] if phrase else []
    path = mail(to_locked(locked, keys))
    row = inspected(path, "--gnupghome", locked[0].home, *options, status=2)
    assert row["error"] == "gpg-passphrase"
    assert row["protection"] == "none"


def test_a_missing_ring_is_told_in_a_sentence(mail: Any, keys: Keys, tmp_path: Path) -> None:
    """No traceback, and an exit status that says that nothing was looked at."""
    done = secbridge("inspect", mail(report_of(keys)), "--gnupghome", tmp_path / "none")
    assert done.status == 2
    assert "Traceback" not in done.err
    assert "OpenPGP" in done.err


def test_a_configuration_that_was_named_must_be_there(mail: Any, tmp_path: Path) -> None:
    """A slip in its path does not silently become "no configuration"."""
    done = secbridge("inspect", mail(b"x"), "--json", config=tmp_path / "none.toml")
    assert (done.status, done.out) == (78, b"")
    assert "there is no such file" in done.err


# ── For people ───────────────────────────────────────────────────────────────────────────────────


def test_a_person_sees_what_matters_and_nothing_that_acts(
    mail: Any, keys: Keys, role_ring: Ring
) -> None:
    """Escape sequences and directions of writing in a mail are written out, not carried out."""
    report = plain_report(text=f"\x1b[2J{CANARY} \u202egnp.exe\n")
    content = encrypted_report(keys.reporter, keys.reporter_fpr, keys.role_fpr, mail=report)
    done = secbridge("inspect", mail(content), "--gnupghome", role_ring.home)
    assert done.status == 0
    assert CANARY in done.text
    assert "⟦U+001B⟧" in done.text
    assert "\x1b" not in done.text
    assert "\u202e" not in done.text
    assert keys.reporter_fpr[-16:] in done.text.replace(" ", "")


# ── Mails that others wrote ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("corpus", ["openpgp-mime/mails", "torture", "bounces", "autocrypt"])
def test_every_mail_of_the_corpus_keeps_to_the_schema(shared: Path, corpus: str) -> None:
    """Hostile and odd mails too: one line each, and no traceback."""
    home = shared / "corpus" / "openpgp-mime" / "gnupg_home"
    before = traces(home)
    files = sorted(path for path in (shared / "corpus" / corpus).rglob("*") if path.is_file())
    done = secbridge("inspect", *files, "--json", "--gnupghome", home)
    assert done.status == 0, done.err
    assert "Traceback" not in done.err
    rows = valid(done, files=len(files))
    assert [row["file"] for row in rows] == [str(path) for path in files]
    assert traces(home) == before


def test_a_ring_of_the_old_format_opens_mails(shared: Path) -> None:
    """``secring.gpg`` is of GnuPG 1; gpg 2 would rewrite it where it lies."""
    corpus = shared / "corpus" / "openpgp-mime"
    row = inspected(
        corpus / "mails" / "openpgp-encrypted+signed.mbox", "--gnupghome", corpus / "gnupg_home"
    )
    assert row["protection"] == "encrypted+signed"
    assert row["signatures"][0]["verdict"] == "good"

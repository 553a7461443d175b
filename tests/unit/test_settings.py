"""Settings: what an operator writes, what the rooms get, and what is told of mistakes."""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from secbridge.errors import ConfigError
from secbridge.model.alias import Member
from secbridge.model.part import OpeningLimits
from secbridge.rules.budgets import Budgets
from secbridge.rules.triage import TriagePolicy
from secbridge.settings import (
    AliasSettings,
    FdEndpoint,
    MemberSettings,
    Settings,
    TcpEndpoint,
    UnixEndpoint,
    load,
)
from secbridge.settings.tables import Section
from secbridge.settings.written import parse_duration, parse_endpoint, parse_size

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE = CHECKOUT / "config" / "secbridge.toml"
BAD = Path(__file__).parent / "config"
FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
ALIAS = f"""
[[alias]]
address = "security@example.org"
role_keys = ["{FINGERPRINT}"]
"""


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run without the variables that systemd or a developer may have set."""
    for name in (*os.environ,):
        if name.startswith("SECBRIDGE_") or name in {"STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"}:
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder for a configuration file."""
    return tmp_path


def written(folder: Path, text: str) -> Settings:
    """Return the settings of a file with this text."""
    path = folder / "secbridge.toml"
    path.write_text(text)
    return load(path)


def told(path: Path) -> str:
    """Return everything that an operator is told of a file that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


# ── Values ───────────────────────────────────────────────────────────────────────────────────────


def test_an_alias_with_a_key_is_all_that_a_file_needs(folder: Path) -> None:
    """Everything else has a default that fits a relay on the same machine."""
    settings = written(folder, ALIAS)
    (alias,) = settings.aliases()
    assert alias.address == "security@example.org"
    assert alias.role_keys == (FINGERPRINT,)
    assert (alias.tracker, alias.project) == ("local", "security")
    assert alias.labels == ("Security",)
    assert alias.due_in == timedelta(days=7)
    assert settings.intake.smtp == (TcpEndpoint("127.0.0.1", 10025),)
    assert settings.intake.max_size == 50 * 1024 * 1024
    assert settings.gnupg_home == Path("/var/lib/secbridge/gnupg")


def test_an_alias_is_lower_cased_and_keeps_its_people(folder: Path) -> None:
    """Addresses of ours are compared in lower case; fingerprints may be written with blanks."""
    settings = written(
        folder,
        """
        [[alias]]
        address = "Security@Example.ORG"
        role_keys = ["0123 4567 89ab cdef 0123  4567 89AB CDEF 0123 4567"]
        assignees = ["alex"]
        [[alias.member]]
        address = "Alex@Example.ORG"
        account = "alex"
        """,
    )
    (alias,) = settings.aliases()
    assert alias.address == "security@example.org"
    assert alias.signing_key == FINGERPRINT
    assert alias.assignees == ("alex",)
    assert alias.members == (Member("Alex@example.org", "alex"),)


@pytest.mark.parametrize(
    ("text", "octets"),
    [(1, 1), ("2048", 2048), ("50 MiB", 50 << 20), ("1.5KiB", 1536), ("2 MB", 2_000_000)],
)
def test_sizes_are_octets_or_texts_with_a_unit(text: object, octets: int) -> None:
    """Both binary and decimal units are known, with or without a blank."""
    assert parse_size(text) == octets


@pytest.mark.parametrize(
    ("text", "span"),
    [
        (90, timedelta(seconds=90)),
        ("90", timedelta(seconds=90)),
        ("500ms", timedelta(milliseconds=500)),
        ("5m", timedelta(minutes=5)),
        ("7d", timedelta(days=7)),
        ("1.5 h", timedelta(minutes=90)),
    ],
)
def test_times_are_seconds_or_texts_with_a_unit(text: object, span: timedelta) -> None:
    """A number without a unit is seconds."""
    assert parse_duration(text) == span


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", 0, -5, True, "1e9", "5 parsecs", None, "\u0661s"]
)
def test_what_is_no_amount_is_refused(text: object) -> None:
    """Zero, negative numbers, truth values and unknown units are mistakes, never a surprise."""
    for parse in (parse_size, parse_duration):
        with pytest.raises(ValueError, match=r"write|zero"):
            parse(text)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:25", TcpEndpoint("127.0.0.1", 25)),
        ("mail.example.org:0", TcpEndpoint("mail.example.org", 0)),
        ("[::1]:10025", TcpEndpoint("::1", 10025)),
        ("unix:/run/x.sock", UnixEndpoint(Path("/run/x.sock"))),
        ("fd:3", FdEndpoint(3)),
    ],
)
def test_a_place_to_listen_reads_back_as_it_was_written(text: str, endpoint: object) -> None:
    """TCP by host or address, a unix socket, or a descriptor from systemd."""
    assert parse_endpoint(text) == endpoint
    assert str(endpoint) == text


@pytest.mark.parametrize("text", ["25", ":25", "host", "::1:25", "h:65536", "unix:", "fd:x", 25])
def test_what_is_no_place_to_listen_is_refused(text: object) -> None:
    """The text says which forms there are."""
    with pytest.raises(ValueError, match="host:port"):
        parse_endpoint(text)


def test_relative_paths_start_at_the_folder_of_the_file(folder: Path) -> None:
    """So a configuration and what belongs to it can be moved together."""
    settings = written(
        folder, f'[daemon]\nstate_dir = "state"\n[intake]\nlmtp = ["unix:l.sock"]\n{ALIAS}'
    )
    assert settings.daemon.state_dir == folder / "state"
    assert settings.daemon.database == folder / "state" / "secbridge.sqlite"
    assert settings.gnupg_home == folder / "state" / "gnupg"
    assert settings.intake.lmtp == (UnixEndpoint(folder / "l.sock"),)


def test_systemd_says_where_the_state_lives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STATE_DIRECTORY is the default of state_dir; of several the first counts."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    assert written(folder, ALIAS).daemon.state_dir == Path("/var/lib/one")


def test_the_environment_wins_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One option changes, its neighbours in the same table stay as the file says."""
    monkeypatch.setenv("SECBRIDGE_INTAKE__MAX_SIZE", "1 MiB")
    monkeypatch.setenv("SECBRIDGE_INTAKE__ALLOWED_NETWORKS", '["192.0.2.0/24"]')
    settings = written(folder, f"[intake]\nmax_size = 5\nmax_recipients = 7\n{ALIAS}")
    assert settings.intake.max_size == 1 << 20
    assert settings.intake.max_recipients == 7
    assert settings.intake.allowed_networks == (ip_network("192.0.2.0/24"),)


def test_settings_cannot_be_changed(folder: Path) -> None:
    """What was checked at the start holds until the end."""
    settings = written(folder, ALIAS)
    with pytest.raises(ValueError, match="frozen"):
        settings.intake.max_size = 1


def test_the_opening_table_is_the_limits_of_the_opening_room(folder: Path) -> None:
    """Same names, same defaults; the daemon and inspect get them from one place."""
    limits = written(folder, ALIAS).opening_limits()
    assert dataclasses.replace(limits, more_fields=frozenset()) == OpeningLimits()
    assert "x-spam-flag" in limits.more_fields


def test_the_triage_table_is_the_policy_of_the_rules(folder: Path) -> None:
    """The spam marks that nobody configured are those that the rules know by themselves."""
    policy = written(folder, ALIAS).triage_policy()
    assert policy == TriagePolicy(aliases=frozenset({"security@example.org"}))
    options = 'authserv_id = "mx.example.org"\nunauthenticated = "answer"'
    chosen = written(folder, f"[triage]\n{options}\n{ALIAS}").triage_policy()
    expected = dataclasses.replace(
        policy, authserv_id="mx.example.org", answer_unauthenticated=True
    )
    assert expected == chosen


def test_the_budgets_are_those_of_the_rules(folder: Path) -> None:
    """Same names, same defaults."""
    assert Budgets(**dict(written(folder, ALIAS).answers)) == Budgets()


def test_a_tracker_has_its_kind_and_its_own_options(folder: Path) -> None:
    """The options go to the plugin without the word that chose it; local needs no table."""
    settings = written(folder, f'[trackers.here]\nkind = "local"\n{ALIAS}tracker = "here"')
    assert settings.tracker_kind("here") == "local"
    assert settings.tracker_kind("local") == "local"
    assert settings.tracker_options("here") == {}


# ── Mistakes ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", sorted(BAD.glob("*.toml")), ids=lambda path: path.stem)
def test_a_bad_configuration_is_told_in_these_very_words(path: Path) -> None:
    """Beside each file lies what the operator sees: place, problem, mend, and never the value."""
    expected = path.with_suffix(".txt").read_text()
    assert told(path).replace(f"{path.parent}/", "") + "\n" == expected


def test_no_bad_configuration_shows_what_it_holds() -> None:
    """A value may be a secret in the wrong place, so none stands in what is told."""
    for path in sorted(BAD.glob("*.toml")):
        values = re.findall(r"hunter2\w*", path.read_text())
        assert [value for value in values if value in told(path)] == []


def test_a_missing_file_is_no_empty_configuration(folder: Path) -> None:
    """The library would go on with the defaults; the operator would wonder."""
    path = folder / "none.toml"
    assert told(path) == (
        f"{path}: there is no such file\n"
        "  Mend: name it with --config, or copy config/secbridge.toml there and fill it in"
    )


def test_a_file_that_is_no_text_is_told(folder: Path) -> None:
    """Bytes that are no UTF-8 are a mistake in the file, not a crash."""
    path = folder / "secbridge.toml"
    path.write_bytes(b"\xff\xfe")
    assert "cannot be read (it is not UTF-8 text)" in told(path)


@pytest.mark.parametrize(
    ("name", "value", "problem", "mend"),
    [
        ("SECBRIDGE_INTAKE__MAX_SIE", "1", "is not an option", "did you mean max_size?"),
        (
            "SECBRIDGE_INTAKE_MAX_SIZE",
            "1",
            "is not an option",
            "docs/configuration.md lists all options",
        ),
        (
            "SECBRIDGE_OPENPGP__PASSPHRASE",
            "hunter2",
            "is a secret, and secrets stand neither in this file nor in the environment",
            (
                "remove it here, put it into a systemd credential and write "
                'passphrase_credential = "NAME", or into a file of mode 0600 and write '
                'passphrase_file = "/path"'
            ),
        ),
        (
            "SECBRIDGE_INTAKE__SMTP",
            "127.0.0.1:25",
            "must be a list",
            'write it as JSON: ["one", "two"]',
        ),
        (
            "SECBRIDGE_DAEMON__WORKERS",
            "many",
            "must be a whole number",
            (
                "change it; what it means: How many deliveries are worked on at once; "
                "raise it with the cores."
            ),
        ),
        (
            "SECBRIDGE_DAEMON",
            "hunter2",
            "is a whole table",
            "name one option of it: SECBRIDGE_DAEMON__OPTION",
        ),
    ],
)
def test_a_variable_that_cannot_be_used_is_told_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str, mend: str
) -> None:
    """The library passes over variables that it does not know; a typo would have no effect."""
    path = folder / "secbridge.toml"
    path.write_text(ALIAS)
    monkeypatch.setenv(name, value)
    assert told(path) == f"environment: {name}: {problem}\n  Mend: {mend}"


def test_an_option_that_disagrees_with_another_is_refused(folder: Path) -> None:
    """Limits that could never hold together are told at the start, not at the first mail."""
    path = folder / "secbridge.toml"
    path.write_text(f'[intake]\nmax_size = "1 GiB"\n{ALIAS}')
    assert "intake: max_bytes_in_flight must be at least max_size" in told(path)


# ── Secrets ──────────────────────────────────────────────────────────────────────────────────────


def with_secret(folder: Path, content: bytes, *, mode: int = 0o600) -> Settings:
    """Return settings whose passphrase lies in a file with this content."""
    (folder / "phrase").write_bytes(content)
    (folder / "phrase").chmod(mode)
    return written(folder, f'[openpgp]\npassphrase_file = "phrase"\n{ALIAS}')


def test_a_secret_comes_from_a_file_without_its_line_end(folder: Path) -> None:
    """Blanks within and at the ends belong to it; the final line end does not."""
    secret = with_secret(folder, b" hunter2 \r\n").secret("openpgp.passphrase")
    assert secret.reveal() == " hunter2 "
    assert "hunter2" not in repr(secret)


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        (b"hunter2", 0o644, "can be read by everybody"),
        (b"hunter2", 0o602, "can be read by everybody"),
        (b"\n", 0o600, "holds no secret"),
        (b"hunter2\0", 0o600, "holds no secret"),
        (b"\xff\xfe", 0o600, "holds no secret"),
        (b"h" * 70_000, 0o600, "holds no secret"),
    ],
)
def test_a_file_that_keeps_no_secret_is_refused(
    folder: Path, content: bytes, mode: int, problem: str
) -> None:
    """Others may read it, or nothing usable is in it; the content is never told."""
    settings = with_secret(folder, content, mode=mode)
    with pytest.raises(ConfigError, match=problem) as caught:
        settings.secret("openpgp.passphrase")
    assert "hunter2" not in str(caught.value)


def test_a_secret_comes_from_a_systemd_credential(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systemd puts them into a folder of this very service."""
    (folder / "phrase").write_text("hunter2\n")
    (folder / "phrase").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    settings = written(folder, f'[openpgp]\npassphrase_credential = "phrase"\n{ALIAS}')
    assert settings.secret("openpgp.passphrase").reveal() == "hunter2"
    assert settings.credential("phrase").reveal() == "hunter2"


def test_a_credential_that_was_not_given_is_told(folder: Path) -> None:
    """Outside of systemd there is no folder of credentials."""
    settings = written(folder, f'[openpgp]\npassphrase_credential = "phrase"\n{ALIAS}')
    with pytest.raises(ConfigError, match="was not given"):
        settings.secret("openpgp.passphrase")


def test_a_secret_has_one_place(folder: Path) -> None:
    """Of two places one would be forgotten at the next rotation."""
    settings = written(
        folder, f'[openpgp]\npassphrase_credential = "a"\npassphrase_file = "b"\n{ALIAS}'
    )
    with pytest.raises(ConfigError, match="keep one of the two"):
        settings.secret("openpgp.passphrase")


def test_a_secret_that_nobody_configured_is_none_or_an_error(folder: Path) -> None:
    """A key without a passphrase is fine; a login without a password is not."""
    settings = written(folder, ALIAS)
    assert settings.find_secret("openpgp.passphrase") is None
    with pytest.raises(ConfigError, match="is needed and not configured"):
        settings.secret("openpgp.passphrase")


def test_the_installation_secret_is_made_once(folder: Path) -> None:
    """The first start makes it for its own user alone, later ones find it."""
    settings = written(folder, f'[daemon]\nstate_dir = "state"\n{ALIAS}')
    assert settings.installation_secret(create=False) is None
    assert not (folder / "state").exists()
    first = settings.installation_secret()
    assert first is not None
    assert len(first.reveal()) == 64
    assert settings.installation_secret() == first
    (file,) = (folder / "state").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_unwritable_state_directory_is_told(folder: Path) -> None:
    """A file stands where the folder should be: the text names the setting."""
    (folder / "state").write_text("")
    settings = written(folder, f'[daemon]\nstate_dir = "state"\n{ALIAS}')
    with pytest.raises(ConfigError, match=r"daemon\.state_dir") as caught:
        settings.installation_secret()
    assert caught.value.mend.startswith("make the folder writable")


# ── The example ──────────────────────────────────────────────────────────────────────────────────

PLACEHOLDER = "FILL IN THE FULL FINGERPRINT"


def uncommented() -> dict[str, Any]:
    """Return the example with every option switched on."""
    lines = EXAMPLE.read_text().splitlines()
    option = re.compile(r"# (\[{1,2}[a-z.]+\]{1,2}|[a-z_]+ = .+)")
    text = "\n".join(found[1] if (found := option.fullmatch(line)) else line for line in lines)
    return tomllib.loads(text.replace(PLACEHOLDER, FINGERPRINT))


def options() -> Iterator[tuple[tuple[str, ...], Any, dict[str, Any]]]:
    """Return (place, field, its table in the example) of every option of ours."""
    example = uncommented()
    tables: list[tuple[tuple[str, ...], type[BaseModel], dict[str, Any]]] = [
        ((name,), field.annotation, example[name])
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    ]
    tables.append((("alias",), AliasSettings, example["alias"][0]))
    tables.append((("alias", "member"), MemberSettings, example["alias"][0]["member"][0]))
    for place, table, values in tables:
        for name, field in table.model_fields.items():
            yield (*place, name), field, values


def test_the_example_names_every_option_and_no_other() -> None:
    """Types and file are compared both ways, so that neither can grow alone."""
    known = {place for place, _, _ in options()}
    shown: set[tuple[str, ...]] = set()
    for name, table in uncommented().items():
        if name == "alias":
            shown |= {("alias", option) for option in table[0]}
            shown |= {("alias", "member", option) for option in table[0]["member"][0]}
        elif name != "trackers":
            shown |= {(name, option) for option in table}
    assert shown == known


@pytest.mark.parametrize(
    ("place", "field", "values"), [pytest.param(*one, id=".".join(one[0])) for one in options()]
)
def test_the_example_shows_the_default(
    place: tuple[str, ...], field: Any, values: dict[str, Any]
) -> None:
    """An option without a fixed default shows an example of its own instead."""
    if field.default in (None, PydanticUndefined, ()):
        return
    settings = load_text({place[0]: {place[-1]: values[place[-1]]}} if len(place) == 2 else {})
    if place[0] == "alias":
        owner: Any = AliasSettings if len(place) == 2 else MemberSettings
        required = {"address": "a@example.org", "role_keys": [FINGERPRINT]}
        base = {key: value for key, value in required.items() if key in owner.model_fields}
        read = owner(**{**base, place[-1]: values[place[-1]]})
    else:
        read = getattr(settings, place[0])
    assert getattr(read, place[-1]) == field.default


def load_text(tables: dict[str, Any]) -> Settings:
    """Return settings with these options beside the least that a file needs."""
    alias = {"address": "security@example.org", "role_keys": [FINGERPRINT]}
    return Settings(**{**{k: v for k, v in tables.items() if k != "alias"}, "alias": [alias]})


def test_every_option_says_what_it_is_for() -> None:
    """The description of each is one sentence; mends and docs are made of them."""
    for place, field, _ in options():
        assert field.description, place
        assert field.description.endswith("."), place
        assert field.description.count(". ") == 0, place


def test_the_example_loads_once_its_placeholder_is_filled_in(folder: Path) -> None:
    """An admin fills in address and fingerprint; all else is a default."""
    text = EXAMPLE.read_text().replace(PLACEHOLDER, FINGERPRINT)
    assert written(folder, text) == written(folder, ALIAS)


def test_the_example_says_what_is_to_be_filled_in() -> None:
    """Loaded as it is, it points at the placeholder."""
    assert told(EXAMPLE) == (
        f"{EXAMPLE}: alias.0.role_keys.0: must be a full fingerprint of 40 hex digits\n"
        "  Mend: change it; what it means: Full fingerprints; the first signs and is announced, "
        "all of them decrypt."
    )


def shown_defaults() -> dict[tuple[str, ...], str]:
    """Return what the example writes behind each option, as it is written."""
    found: dict[tuple[str, ...], str] = {}
    table: tuple[str, ...] = ()
    for line in EXAMPLE.read_text().splitlines():
        if head := re.fullmatch(r"(?:# )?\[+([a-z.]+)\]+", line):
            table = tuple(head[1].split("."))
        elif option := re.fullmatch(r"(?:# )?([a-z_]+) = (.+)", line):
            found[(*table, option[1])] = option[2]
    return found


def test_the_documentation_has_a_row_for_every_option() -> None:
    """docs/configuration.md says the sentence of each, and the default where it is a fixed one."""
    text = (CHECKOUT / "docs" / "configuration.md").read_text()
    defaults = shown_defaults()
    missing = []
    for place, field, _ in options():
        fixed = field.default not in (None, PydanticUndefined) and place[-1] != "member"
        default = f"`{defaults[place]}`" if fixed else None
        row = re.search(
            rf"^\| `{place[-1]}` \| (.*) \| {re.escape(field.description)} \|$", text, re.MULTILINE
        )
        if row is None or default not in (None, row[1]):
            missing.append(place)
    assert missing == []

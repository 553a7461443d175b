"""What did the operator decide?  All of it, as one frozen value."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from secbridge.errors import ConfigError
from secbridge.model.alias import Alias
from secbridge.model.message import CertificateSource
from secbridge.model.part import OpeningLimits
from secbridge.model.plaintext import Secret
from secbridge.rules import commands
from secbridge.rules.commands import Command, CommandName, Mistake, sign
from secbridge.rules.drafting.commanding import wrong
from secbridge.rules.triage import TriagePolicy, header_fields
from secbridge.settings.credentials import credential_path, is_there, read_secret, write_once
from secbridge.settings.tables import (
    LOCAL_TRACKER,
    AliasSettings,
    AnswerSettings,
    ConversationSettings,
    DaemonSettings,
    IntakeSettings,
    KeyLimitSettings,
    KeySource,
    LookupSettings,
    OpeningSettings,
    OpenPGPSettings,
    RetrySettings,
    Section,
    SubmissionSettings,
    TriageSettings,
    Unauthenticated,
    WebSettings,
)
from secbridge.trackers.registry import TrackerPlugin, TrackerSettings

ENV_PREFIX = "SECBRIDGE_"
"""Every variable with this prefix is an option, or a mistake that is told."""


class MisplacedError(ValueError):
    """A value that disagrees with another one; ``setting`` says which of the two to change.

    ``mend`` says how, where the description of the option would not.
    """

    def __init__(self, setting: str, problem: str, mend: str = "") -> None:
        super().__init__(problem)
        self.setting = setting
        self.mend = mend


class Settings(BaseSettings):
    """Everything that an operator may decide; made by ``load``, handed out by the daemon."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
    )

    daemon: DaemonSettings = Field(default_factory=DaemonSettings)
    intake: IntakeSettings = Field(default_factory=IntakeSettings)
    openpgp: OpenPGPSettings = Field(default_factory=OpenPGPSettings)
    keys: KeyLimitSettings = Field(default_factory=KeyLimitSettings)
    lookup: LookupSettings = Field(default_factory=LookupSettings)
    opening: OpeningSettings = Field(default_factory=OpeningSettings)
    triage: TriageSettings = Field(default_factory=TriageSettings)
    submission: SubmissionSettings = Field(default_factory=SubmissionSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    conversation: ConversationSettings = Field(default_factory=ConversationSettings)
    answers: AnswerSettings = Field(default_factory=AnswerSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    trackers: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Trackers by name, one [trackers.NAME] table each; local is always there.",
    )
    alias: tuple[AliasSettings, ...] = Field(
        min_length=1, description="Your security addresses, one [[alias]] table each."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file; there are no other sources."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _aliases_agree(self) -> Self:
        seen: set[str] = set()
        for position, alias in enumerate(self.alias):
            if alias.address in seen:
                raise MisplacedError(
                    f"alias.{position}.address", "names an alias for the second time"
                )
            seen.add(alias.address)
            if alias.tracker not in {LOCAL_TRACKER, *self.trackers}:
                raise MisplacedError(
                    f"alias.{position}.tracker",
                    "names a tracker that has no [trackers.NAME] table",
                )
            is_local = self.tracker_kind(alias.tracker) == LOCAL_TRACKER
            if not alias.project and not is_local:
                raise MisplacedError(f"alias.{position}.project", "is missing")
            if alias.fallback and is_local:
                raise MisplacedError(
                    f"alias.{position}.fallback", "is where the alias files anyway"
                )
        if self.intake.postmaster is not None and self.intake.postmaster not in seen:
            raise MisplacedError("intake.postmaster", "is not the address of an alias")
        return self

    @model_validator(mode="after")
    def _signs_are_commands(self) -> Self:
        chosen = self.conversation
        for name in chosen.states.keys() - {"open", "closed"}:
            states = "the states are open and closed, whatever the tracker calls them"
            raise MisplacedError(f"conversation.states.{name}", "is not a state", states)
        for table, signs in (("labels", chosen.labels), ("states", chosen.states)):
            for name, line in signs.items():
                if isinstance(found := sign(line), Mistake):
                    problem = f"stands for no command: {wrong(found.kind)}"
                    raise MisplacedError(f"conversation.{table}.{name}", problem, _typed(found))
        return self

    @property
    def gnupg_home(self) -> Path:
        """The GNUPGHOME with the role keys."""
        return self.openpgp.home or self.daemon.state_dir / "gnupg"

    @property
    def postmaster(self) -> str:
        """The alias that gets mail to postmaster (RFC 5321 section 4.5.1)."""
        return self.intake.postmaster or self.alias[0].address

    def aliases(self) -> tuple[Alias, ...]:
        """Return the aliases as the rooms know them, in the order of the file."""
        return tuple(alias.to_alias() for alias in self.alias)

    def sign_commands(self) -> tuple[dict[str, Command], dict[str, Command]]:
        """Return the commands that labels and states stand for; ``load`` has checked them."""
        return _commands_of(self.conversation.labels), _commands_of(self.conversation.states)

    def triage_policy(self) -> TriagePolicy:
        """Return what the rules of triage need."""
        return TriagePolicy(
            aliases=frozenset(alias.address for alias in self.alias),
            spam_headers=self.triage.spam_headers,
            authserv_id=self.triage.authserv_id,
            answer_unauthenticated=self.triage.unauthenticated is Unauthenticated.ANSWER,
        )

    def opening_limits(self) -> OpeningLimits:
        """Return how deep mails are looked into, and which header fields the rules ask for."""
        chosen = dict(self.opening)
        for name in ("processes", "max_time", "max_memory"):  # of the process, not of one mail
            del chosen[name]
        return OpeningLimits(**chosen, more_fields=header_fields(self.triage_policy()))

    def key_sources(self) -> tuple[CertificateSource, ...]:
        """Return where a reporter's certificate is looked for, after the bound one, in order.

        A keyserver without a name is left out, and with ``network`` off all that is outside.
        """
        chosen = self.lookup
        off = {
            KeySource.BOUND: True,  # no place among others: it is always asked, and first
            KeySource.WKD: not chosen.network,
            KeySource.VKS: not (chosen.network and chosen.vks_server),
            KeySource.HKP: not (chosen.network and chosen.hkp_server),
        }
        return tuple(
            CertificateSource(source.value) for source in chosen.sources if not off.get(source)
        )

    def tracker_kind(self, name: str) -> str:
        """Return the kind of a tracker: the name of its plugin."""
        return str(self.trackers.get(name, {}).get("kind", LOCAL_TRACKER))

    def tracker_options(self, name: str) -> dict[str, Any]:
        """Return the table of a tracker without its kind, as the operator wrote it."""
        return {key: value for key, value in self.trackers.get(name, {}).items() if key != "kind"}

    def tracker_settings(self, name: str, plugin: TrackerPlugin) -> TrackerSettings:
        """Return the table of a tracker as its plugin understands it; ``load`` has checked it."""
        return plugin.settings_model(**self.tracker_options(name))

    def tracker_secret(self, name: str, stem: str) -> Secret:
        """Return a secret of a tracker's table, such as ``token`` (``token_file`` or so).

        Raises ConfigError, as ``secret`` does.
        """
        return self.secret(f"trackers.{name}.{stem}")

    # ── Secrets ───────────────────────────────────────────────────────────────────────────────────

    def secret(self, name: str) -> Secret:
        """Return a secret by its dotted name, such as ``submission.password``.

        Raises ConfigError when it is configured neither as credential nor as file, or unreadable.
        """
        if (found := self.find_secret(name)) is None:
            raise ConfigError(
                self.source,
                name,
                "is needed and not configured",
                f"set {name}_credential to a systemd credential, or {name}_file to a file",
            )
        return found

    def find_secret(self, name: str) -> Secret | None:
        """Return a secret by its dotted name, or None when none is configured.

        Raises ConfigError when it is configured and cannot be read.
        """
        if (path := self.secret_path(name)) is None:
            return None
        return read_secret(path, setting=name, file=self.source)

    def secret_path(self, name: str) -> Path | None:
        """Return the file that holds a secret, for libraries that want a path; None if not set."""
        section, _, stem = name.rpartition(".")
        table = self._table(section)
        credential, file = table.get(f"{stem}_credential"), table.get(f"{stem}_file")
        if credential and file:
            raise ConfigError(
                self.source,
                f"{name}_file",
                "is set beside a credential for the same secret",
                "keep one of the two",
            )
        if credential:
            return credential_path(str(credential), setting=f"{name}_credential", file=self.source)
        return _in_folder(self.source, Path(file)) if file else None

    def credential(self, name: str) -> Secret:
        """Return a systemd credential by its own name, for a tracker's table that names one.

        Raises ConfigError when this process was not given it.
        """
        path = credential_path(name, setting=name, file=self.source)
        return read_secret(path, setting=name, file=self.source)

    def installation_secret(self, *, create: bool = True) -> Secret | None:
        """Return the secret under which Message-IDs and addresses of cases are made.

        Without a configured one it lies in the state directory, and is made there once (mode
        0600) unless ``create`` is False; then None says that there is none yet.
        """
        if (found := self.find_secret("daemon.installation_secret")) is not None:
            return found
        path = self.daemon.state_dir / "installation.secret"
        if not is_there(path, setting="daemon.state_dir", file=self.source):
            if not create:
                return None
            write_once(path, secrets.token_hex(32), file=self.source)
        return read_secret(path, setting="daemon.installation_secret", file=self.source)

    @property
    def source(self) -> str:
        """The file that these settings were read from, for messages."""
        return self._source

    _source: str = PrivateAttr(default="the configuration")

    def _table(self, section: str) -> Mapping[str, Any]:
        """Return the options of ``openpgp`` or of ``trackers.NAME``."""
        first, _, rest = section.partition(".")
        if first == "trackers":
            return self.trackers.get(rest, {})
        table: Section = getattr(self, first)
        return dict(table)


def _commands_of(signs: Mapping[str, str]) -> dict[str, Command]:
    found = {name: sign(line) for name, line in signs.items()}
    return {name: asked for name, asked in found.items() if isinstance(asked, Command)}


def _typed(mistake: Mistake) -> str:
    """Say how the command of a label is written."""
    if mistake.name in commands.FOR_SIGNS:
        return f"write it as it is typed behind the mark: {commands.USAGES[mistake.name].form}"
    names = ", ".join(name.value for name in CommandName if name in commands.FOR_SIGNS)
    return f"write a command as it is typed behind the mark, one of: {names}"


def _in_folder(source: str, path: Path) -> Path:
    """Take the relative path of a tracker's table from the folder of the file, too."""
    return path if path.is_absolute() else Path(source).parent / path

"""Which tables does the configuration have, and which options?  One class for each table."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from secbridge.model.alias import Alias, Member
from secbridge.settings.written import (
    Address,
    AliasAddress,
    Count,
    CredentialName,
    Duration,
    FilePath,
    Fingerprint,
    KeyServer,
    Listener,
    Network,
    Port,
    Size,
    SocksProxy,
    TcpEndpoint,
    UnixEndpoint,
    is_loopback,
)

LOCAL_TRACKER = "local"
"""The embedded tracker; it exists without a table of its own."""


class LogFormat(StrEnum):
    """How log lines look; ``auto`` is colours on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """From which weight on a log line is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class SubmissionTls(StrEnum):
    """How the way to the relay is protected; there is no opportunistic mode."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class KeySource(StrEnum):
    """Where a reporter's certificate may come from."""

    BOUND = "bound"
    SIGNATURE = "signature"
    INSIDE = "attached-inside"
    OUTSIDE = "attached-outside"
    AUTOCRYPT = "autocrypt"
    KEYRING = "keyring"
    WKD = "wkd"
    VKS = "vks"
    HKP = "hkp"


class FollowUp(StrEnum):
    """What a mail to a closed issue does beside becoming a comment."""

    REOPEN = "reopen"
    COMMENT = "comment"


class SignAs(StrEnum):
    """Whose name stands below a letter."""

    TEAM = "team"
    MEMBER = "member"


class Unauthenticated(StrEnum):
    """What becomes of the answer to a mail whose sender is not proven (DMARC)."""

    FILE = "file"
    ANSWER = "answer"


class Fallback(StrEnum):
    """Where a report is filed meanwhile."""

    LOCAL = "local"


class Section(BaseModel):
    """A table of the file: frozen, without unknown names, silent about values that it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _state_directory() -> Path:
    """Return the state directory that systemd made for us, else the packaged one."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(given or "/var/lib/secbridge")


def _default_database(data: dict[str, Any]) -> Path:
    return Path(data["state_dir"]) / "secbridge.sqlite"


class DaemonSettings(Section):
    """The process and its own files."""

    state_dir: FilePath = Field(
        default_factory=_state_directory,
        description="Where store and key ring live; systemd's STATE_DIRECTORY is the default.",
    )
    database: FilePath = Field(
        default_factory=_default_database,
        description="The SQLite file; change it to keep mails and issues on another disk.",
    )
    installation_secret_credential: CredentialName | None = Field(
        default=None,
        description="The systemd credential with the secret under which Message-IDs are made.",
    )
    installation_secret_file: FilePath | None = Field(
        default=None,
        description="The file of that secret; without both, it is made once in the state_dir.",
    )
    workers: Count = Field(
        default=4, description="How many deliveries are worked on at once; raise it with the cores."
    )
    stop_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="How long SIGTERM waits for the rooms in use before the process ends.",
    )
    raw_mail_retention: Duration = Field(
        default=timedelta(days=90),
        description="How long raw mail is kept once its delivery is done; law may limit it.",
    )
    log_format: LogFormat = Field(
        default=LogFormat.AUTO,
        description="How log lines look: json, console, or auto (colours on a terminal only).",
    )
    log_level: LogLevel = Field(
        default=LogLevel.INFO, description="From which weight on a line is written."
    )


class IntakeSettings(Section):
    """Where mail comes in, and how much of it."""

    hostname: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9.-]{1,255}$",
        description="The name in our greeting; the default is the name of this machine.",
    )
    smtp: tuple[Listener, ...] = Field(
        default=(TcpEndpoint("127.0.0.1", 10025),),
        description="Where SMTP listens; an empty list switches it off.",
    )
    lmtp: tuple[Listener, ...] = Field(
        default=(UnixEndpoint(Path("/run/secbridge/lmtp.sock")),),
        description="Where LMTP listens; an empty list switches it off.",
    )
    max_size: Size = Field(
        default=50 << 20, description="The largest mail that is taken; larger ones get 552 5.3.4."
    )
    max_recipients: Count = Field(default=100, description="Recipients in one transaction.")
    max_connections: Count = Field(
        default=100, description="Connections at once; raise it for several relays in front."
    )
    max_connections_per_client: Count = Field(
        default=20,
        description="Connections at once from one address; a relay needs few.",
    )
    command_timeout: Duration = Field(
        default=timedelta(minutes=5),
        description="How long we wait for the next command (RFC 5321 asks for five minutes).",
    )
    data_timeout: Duration = Field(
        default=timedelta(minutes=10),
        description="How long one message may take to arrive; raise it for slow lines.",
    )
    max_bytes_in_flight: Size = Field(
        default=256 << 20,
        description="Octets of unfinished messages in memory over all connections; others wait.",
    )
    allowed_networks: tuple[Network, ...] = Field(
        default=(IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
        description="Clients that may connect over TCP; name your relay if it is elsewhere.",
    )
    tls_certificate: FilePath | None = Field(
        default=None, description="The certificate chain (PEM) with which STARTTLS is offered."
    )
    tls_key_credential: CredentialName | None = Field(
        default=None, description="The systemd credential that holds its private key."
    )
    tls_key_file: FilePath | None = Field(
        default=None, description="The file that holds its private key, where no credential does."
    )
    require_tls: bool = Field(
        default=False, description="Refuse mail over TCP without STARTTLS; needs a certificate."
    )
    postmaster: AliasAddress | None = Field(
        default=None,
        description="The alias that gets mail to postmaster; without it, it is the first alias.",
    )

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        key = self.tls_key_credential or self.tls_key_file
        if self.require_tls and not self.tls_certificate:
            raise ValueError("require_tls needs tls_certificate and its private key")
        if bool(self.tls_certificate) != bool(key):
            raise ValueError(
                "tls_certificate and tls_key_credential (or tls_key_file) belong together"
            )
        return self

    @model_validator(mode="after")
    def _one_mail_fits(self) -> Self:
        if self.max_bytes_in_flight < self.max_size:
            raise ValueError("max_bytes_in_flight must be at least max_size")
        return self

    @model_validator(mode="after")
    def _somewhere_to_listen(self) -> Self:
        if not self.smtp and not self.lmtp:
            raise ValueError("smtp and lmtp are both empty, so no mail could come in")
        return self


class OpenPGPSettings(Section):
    """GnuPG and the key ring of the role keys."""

    home: FilePath | None = Field(
        default=None,
        description="The GNUPGHOME with the role keys; the default is gnupg in the state_dir.",
    )
    gpg: str = Field(
        default="gpg", min_length=1, description="The gpg binary, by name or full path."
    )
    timeout: Duration = Field(
        default=timedelta(seconds=60),
        description="How long one gpg call may take; raise it for smart cards.",
    )
    processes: Count = Field(
        default=4, description="How many gpg processes run at once; the cores are a good number."
    )
    passphrase_credential: CredentialName | None = Field(
        default=None,
        description="The systemd credential with the passphrase of the role keys.",
    )
    passphrase_file: FilePath | None = Field(
        default=None, description="The file that holds that passphrase, where no credential does."
    )


class KeyLimitSettings(Section):
    """How strong a key must be; sizes are in bits of RSA, DSA or ElGamal."""

    reporter_warn_below: Count = Field(
        default=2048,
        description="A reporter's key below this is used, and its owner and the team are told.",
    )
    reporter_refuse_below: Count = Field(
        default=1024, description="A reporter's key below this is not used: a notice says why."
    )
    own_refuse_below: Count = Field(
        default=2048,
        description="A member's key below this is not used, and a role key below it is an error.",
    )


class LookupSettings(Section):
    """Where a reporter's certificate is looked for.  Asking tells others who writes to you."""

    sources: tuple[KeySource, ...] = Field(
        default=(
            KeySource.BOUND,
            KeySource.SIGNATURE,
            KeySource.INSIDE,
            KeySource.OUTSIDE,
            KeySource.AUTOCRYPT,
            KeySource.KEYRING,
            KeySource.WKD,
            KeySource.VKS,
            KeySource.HKP,
        ),
        description="The places in their order, bound first; leave another out to switch it off.",
    )
    network: bool = Field(
        default=True, description="The off switch: false asks nobody outside (WKD, VKS, HKP)."
    )
    vks_server: KeyServer | None = Field(
        default=None, description="A keyserver that is asked by address, such as keys.openpgp.org."
    )
    hkp_server: KeyServer | None = Field(
        default=None, description="A keyserver that is asked by fingerprint, over HTTPS."
    )
    proxy: SocksProxy | None = Field(
        default=None, description="A SOCKS5 proxy for all of it, which resolves the names, too."
    )
    timeout: Duration = Field(
        default=timedelta(seconds=10), description="How long one server may take to answer."
    )
    max_size: Size = Field(default=256 << 10, description="The largest answer that is read.")
    ca_file: FilePath | None = Field(
        default=None, description="The CA of servers of your own, beside those of the system."
    )
    private_networks: bool = Field(
        default=False,
        description="Ask servers with private addresses, too: only for a WKD of your own house.",
    )
    remember: Duration = Field(
        default=timedelta(days=1), description="How long an answer is used again."
    )
    remember_misses: Duration = Field(
        default=timedelta(hours=6), description="How long a miss is not asked again."
    )

    @field_validator("sources")
    @classmethod
    def _bound_is_first(cls, sources: tuple[KeySource, ...]) -> tuple[KeySource, ...]:
        if sources[:1] != (KeySource.BOUND,):
            raise ValueError(
                'must begin with "bound": a key that was bound is never passed over in silence'
            )
        if len(set(sources)) < len(sources):
            raise ValueError("names a place for the second time")
        return sources


class OpeningSettings(Section):
    """How deep we look into a mail before it counts as too complex or too large."""

    max_layers: Count = Field(
        default=8, description="Layers of encryption or signature within each other."
    )
    max_parts: Count = Field(default=500, description="MIME parts in one mail.")
    max_depth: Count = Field(default=20, description="MIME parts within each other.")
    max_header: Size = Field(default=256 << 10, description="Octets of one header.")
    max_ciphertexts: Count = Field(
        default=32, description="Ciphertexts in one mail that gpg is asked to open."
    )
    max_signatures: Count = Field(
        default=32, description="Signatures in one mail that gpg is asked to judge."
    )
    max_plaintext: Size = Field(
        default=64 << 20,
        description="Octets that all ciphertexts of a mail may open to together.",
    )
    plaintext_floor: Size = Field(
        default=4 << 20, description="Octets that any ciphertext may open to, however small it is."
    )
    plaintext_ratio: Count = Field(
        default=12, description="Above the floor, how many times its own size; more is a bomb."
    )
    max_text: Size = Field(
        default=1 << 20, description="Octets of a text part that are shown; the rest is attached."
    )
    max_html: Size = Field(
        default=512 << 10, description="Octets of an HTML part that are turned into text."
    )
    processes: Count = Field(
        default=2, description="Processes that open mails at once; a spare core each is enough."
    )
    max_time: Duration = Field(
        default=timedelta(seconds=60),
        description="How long one mail may take to be opened, without the time that gpg needs.",
    )
    max_memory: Size = Field(
        default=512 << 20, description="Memory that the process which opens a mail may take."
    )

    @model_validator(mode="after")
    def _process_lives(self) -> Self:
        if self.max_memory < 64 << 20:
            raise ValueError("max_memory must be at least 64 MiB")
        return self


class TriageSettings(Section):
    """What the relay in front of us says about a mail."""

    spam_headers: tuple[str, ...] = Field(
        default=("X-Spam-Flag: YES", "X-Spam: Yes", "X-Spam-Status: Yes"),
        description="Header fields of your relay, with the start of a value, that mean spam.",
    )
    authserv_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,255}$",
        description="The name under which your relay writes Authentication-Results (RFC 8601).",
    )
    unauthenticated: Unauthenticated = Field(
        default=Unauthenticated.FILE,
        description="Mail that fails DMARC there: file it without an answer, or answer it as well.",
    )


class AnswerSettings(Section):
    """How many mails machines may decide to send; beyond that mail is filed and not answered."""

    per_sender: Count = Field(
        default=10, description="Answers by machine to one address within the time."
    )
    per_case: Count = Field(default=6, description="Answers by machine in one case, ever.")
    total: Count = Field(
        default=500, description="Answers by machine of the whole daemon within the time."
    )
    within: Duration = Field(
        default=timedelta(days=1), description="The time over which they are counted."
    )


class SubmissionSettings(Section):
    """The relay that takes our answers to the world."""

    host: str = Field(default="127.0.0.1", min_length=1, description="The relay's name or address.")
    port: Port = Field(
        default=25, description="Its port: 25, 587 with starttls, 465 with implicit TLS."
    )
    tls: SubmissionTls = Field(
        default=SubmissionTls.NONE,
        description="none (a relay on this machine), starttls or implicit; never opportunistic.",
    )
    ca_file: FilePath | None = Field(
        default=None, description="The CA that signed the relay's certificate, if it is your own."
    )
    username: str | None = Field(
        default=None, min_length=1, description="The account, where the relay asks for a login."
    )
    password_credential: CredentialName | None = Field(
        default=None, description="The systemd credential that holds its password."
    )
    password_file: FilePath | None = Field(
        default=None, description="The file that holds its password, where no credential does."
    )
    timeout: Duration = Field(
        default=timedelta(seconds=60), description="How long each step with the relay may take."
    )
    retry_first: Duration = Field(
        default=timedelta(minutes=1), description="The wait after the first passing failure."
    )
    retry_maximum: Duration = Field(
        default=timedelta(hours=1), description="The longest wait between two attempts."
    )

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        password = self.password_credential or self.password_file
        if bool(self.username) != bool(password):
            raise ValueError("username and password_credential (or password_file) belong together")
        if password and self.tls is SubmissionTls.NONE and not is_loopback(self.host):
            raise ValueError('a login in clear would show the password; set tls = "starttls"')
        return self


class RetrySettings(Section):
    """When a delivery that could not be worked on is tried again."""

    held: Duration = Field(
        default=timedelta(hours=6),
        description="How often a held answer looks for a key by itself; what brings one wakes it.",
    )
    trackers: Duration = Field(
        default=timedelta(hours=1),
        description="How often it is seen whether projects and open issues still keep a secret.",
    )

    first: Duration = Field(
        default=timedelta(seconds=30), description="The wait after the first deferral."
    )
    maximum: Duration = Field(
        default=timedelta(hours=1), description="The longest wait between two attempts."
    )
    quarantine_after: Count = Field(
        default=3, description="Deaths of a worker over one delivery after which a human must look."
    )


class ConversationSettings(Section):
    """What the team says to us in its tracker."""

    every: Duration = Field(
        default=timedelta(minutes=1),
        description="How often each project is asked what people wrote there.",
    )
    mark: str = Field(
        default="sb:",
        pattern=r"^[a-z][a-z0-9-]{0,15}:$",
        description="What the first line of a comment begins with when it is a command for us.",
    )
    slash: bool = Field(
        default=True,
        description="Take /reply and the like as well, where the tracker leaves such lines alone.",
    )
    closed: FollowUp = Field(
        default=FollowUp.REOPEN,
        description="What a reporter's mail does to a closed issue: reopen, or comment alone.",
    )
    sign_as: SignAs = Field(
        default=SignAs.TEAM,
        description="Whose name stands below what a member has us send: team, or member.",
    )
    public_replies: bool = Field(
        default=False,
        description="A comment that Jira shows to the customer is sent as a reply, too.",
    )
    adopt: bool = Field(
        default=True,
        description="A command on a confidential, labelled issue of a person makes it a case.",
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="Labels that stand for a command, such as needs-info for need-info.",
    )
    states: dict[str, str] = Field(
        default_factory=dict,
        description="States of an issue (closed, open) that stand for a command.",
    )


class WebSettings(Section):
    """Where trackers say that something happened; without it they are only asked."""

    listen: Listener | None = Field(
        default=None,
        description="Where webhooks come in, behind a proxy with TLS; without it nothing is open.",
    )
    max_body: Size = Field(default=1 << 20, description="The largest webhook that is read.")
    per_minute: Count = Field(
        default=120, description="Requests of one address in a minute; more get 429."
    )
    proxies: tuple[Network, ...] = Field(
        default=(IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
        description="Proxies whose X-Forwarded-For is believed.",
    )


class MemberSettings(Section):
    """One person behind an alias."""

    address: Address = Field(description="The person's mail address.")
    account: str = Field(
        default="",
        description="The person's account in the tracker; without it the name there is believed.",
    )
    fingerprint: Fingerprint | None = Field(
        default=None, description="The full fingerprint of the person's OpenPGP key."
    )
    name: str = Field(default="", description="The name under which others know the person.")


class AliasSettings(Section):
    """One security address: its keys, its tracker, its people."""

    address: AliasAddress = Field(description="The address to which reporters write.")
    name: str = Field(default="", description="The name that stands in From: of our answers.")
    role_keys: tuple[Fingerprint, ...] = Field(
        min_length=1,
        description="Full fingerprints; the first signs and is announced, all of them decrypt.",
    )
    tracker: str = Field(
        default=LOCAL_TRACKER,
        description="A tracker's name: local, or that of a [trackers.NAME] table.",
    )
    project: str | None = Field(
        default=None,
        min_length=1,
        description="The project there; only the embedded tracker has a default, the local part.",
    )
    assignees: tuple[str, ...] = Field(
        default=(), description="Accounts to which new issues are assigned; check asks for one."
    )
    labels: tuple[str, ...] = Field(default=("Security",), description="Labels of new issues.")
    due_days: Count = Field(default=7, description="Days until a new issue is due.")
    fallback: Fallback | None = Field(
        default=None,
        description="local: file in the embedded tracker while the project cannot keep a secret.",
    )
    templates: FilePath | None = Field(
        default=None, description="A folder with templates of your own for the answers."
    )
    language: str = Field(
        default="en",
        pattern=r"^[a-z]{2,3}(-[a-z0-9]{2,8})*$",
        description="The language of answers where the reporter's own is not known.",
    )
    paused: bool = Field(
        default=False,
        description="The intake is paused: reports are filed, and the answer says so.",
    )
    member: tuple[MemberSettings, ...] = Field(
        default=(), description="The people behind the alias, one table each."
    )

    def to_alias(self) -> Alias:
        """Return the value that the rooms work with."""
        return Alias(
            address=self.address,
            role_keys=self.role_keys,
            tracker=self.tracker,
            project=self.project or self.address.rpartition("@")[0],
            assignees=self.assignees,
            labels=self.labels,
            due_in=timedelta(days=self.due_days),
            members=tuple(
                Member(person.address, person.account, person.fingerprint or "", person.name)
                for person in self.member
            ),
            templates=str(self.templates or ""),
            name=self.name,
            fallback=self.fallback.value if self.fallback else "",
            language=self.language,
            paused=self.paused,
        )

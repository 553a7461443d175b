"""Where do we listen for mail?  TCP, a unix socket, or a socket that systemd opened for us."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_SMTP_PORT = 25


class MailProtocol(StrEnum):
    """What is spoken at an endpoint: SMTP (RFC 5321) or LMTP (RFC 2033)."""

    SMTP = "smtp"
    LMTP = "lmtp"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to listen: ``host`` with ``port`` (0: any), ``path``, or an inherited ``fd``."""

    protocol: MailProtocol
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int | None = None

    def __post_init__(self) -> None:
        if (bool(self.host), bool(self.path), self.fd is not None).count(True) != 1:
            raise ValueError("an endpoint is a host with a port, or a path, or a descriptor")
        if self.protocol is MailProtocol.LMTP and self.host and self.port == _SMTP_PORT:
            raise ValueError("LMTP must not be spoken on port 25 (RFC 2033 section 5)")

    def __str__(self) -> str:
        if self.path:
            return f"{self.protocol}+unix:{self.path}"
        if self.fd is not None:
            return f"{self.protocol}+fd:{self.fd}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.protocol}://{host}:{self.port}"

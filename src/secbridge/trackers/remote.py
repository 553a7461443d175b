"""Where is a tracker that is somewhere else, and how do we get in?  The options that all have."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from secbridge.trackers.registry import Duration, TrackerSettings


class RemoteSettings(TrackerSettings):
    """The options of a tracker behind HTTPS; ``example`` is an address of such a one."""

    example: ClassVar[str]

    url: str
    token_credential: str = Field(
        default="", description="The systemd credential that holds the token of the bot's account."
    )
    token_file: Path | None = Field(
        default=None, description="A file that holds the token, where there is no systemd."
    )
    timeout: Duration = Field(
        default=timedelta(seconds=30),
        gt=timedelta(0),
        le=timedelta(minutes=5),
        description="How long to wait for the tracker to answer.",
    )
    settle: Duration = Field(
        default=timedelta(minutes=4),
        ge=timedelta(0),
        le=timedelta(hours=1),
        description="How much longer a request without an answer may still take effect.",
    )
    ca_file: Path | None = Field(
        default=None, description="Certificates of a private CA, PEM; the system's are used else."
    )
    fallback_assignee: str = Field(
        default="", description="The account that gets issues whose own assignees are unknown."
    )

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        """Refuse a URL that would send the token in clear, or that holds a password."""
        parts = urlsplit(url)
        if not parts.hostname or parts.username or parts.password or parts.query:
            raise ValueError(f"must be an address like {cls.example}, without a user")
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
            raise ValueError("must begin with https://, since a token goes there")
        return url.rstrip("/")

    @property
    def has_one_token(self) -> bool:
        """Whether exactly one place for the token is named."""
        return bool(self.token_credential) != bool(self.token_file)


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

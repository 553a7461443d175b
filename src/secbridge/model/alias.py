"""Whom does a security alias belong to?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Member:
    """One person behind an alias: mail address, account in the tracker, OpenPGP certificate."""

    address: str
    account: str = ""
    fingerprint: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Alias:
    """A security address with its keys, its tracker and its people.

    ``role_keys``: full fingerprints, the first signs and is announced, all of them decrypt.
    ``fallback``: the tracker that takes reports while the alias's own cannot keep a secret, or "".
    ``language`` is that of texts for a reporter whose own is not known.  ``paused``: new reports
    are filed, and answered with the text for a paused intake.
    """

    address: str
    role_keys: tuple[str, ...]
    tracker: str
    project: str
    assignees: tuple[str, ...] = ()
    labels: tuple[str, ...] = ("Security",)
    due_in: timedelta = timedelta(days=7)
    members: tuple[Member, ...] = ()
    templates: str = ""
    name: str = ""
    fallback: str = ""
    language: str = "en"
    paused: bool = False

    @property
    def local_part(self) -> str:
        """What stands before the last @."""
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        """What stands after the last @, lower-cased."""
        return self.address.rpartition("@")[2].lower()

    @property
    def signing_key(self) -> str:
        """The fingerprint of the role key that signs and that reporters are told."""
        return self.role_keys[0]

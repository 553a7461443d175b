"""How does content stay out of logs and tracebacks?  By a type whose repr is its size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Plaintext:
    """Bytes that came out of ciphertext; they live in memory only."""

    content: bytes

    def __len__(self) -> int:
        return len(self.content)

    def __repr__(self) -> str:
        return f"Plaintext({len(self.content)} bytes)"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A token, passphrase or key of ours; ``reveal()`` is the one place where it comes out."""

    value: str

    def reveal(self) -> str:
        """Return the secret itself, for the one library call that needs it."""
        return self.value

    def __repr__(self) -> str:
        return "Secret(…)"

"""Do all our adapters keep the contract?  The suite that third parties use, before each of them."""

from __future__ import annotations

from secbridge.testing import TrackerContract


class TestEveryTracker(TrackerContract):
    """The embedded tracker, GitLab, GitHub, and both Jiras: see ``conftest``."""

"""What is still true after the power came back?  The durable memory of the daemon."""

from secbridge.store.journal import Entry
from secbridge.store.store import Store

__all__ = ["Entry", "Store"]

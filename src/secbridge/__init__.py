"""secbridge: from a security alias's mail to a confidential issue, and back."""

__version__ = "0.1.0"

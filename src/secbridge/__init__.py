"""How does a security alias's mail become a confidential issue, and an answer come back?"""

__version__ = "0.1.0"

"""Promises of secbridge, each one a sentence."""

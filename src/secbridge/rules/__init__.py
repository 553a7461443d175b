"""Decisions without hands: no clock, disk, network, log or randomness in here."""

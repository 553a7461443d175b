"""What shall be done?  Decided without hands: no clock, disk, network, log or randomness."""

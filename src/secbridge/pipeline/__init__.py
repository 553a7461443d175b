"""The story of one message: decide with the rules, act through the ports."""

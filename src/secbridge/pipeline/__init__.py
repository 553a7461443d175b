"""What happens to one message?  Decide with the rules, act through the ports."""

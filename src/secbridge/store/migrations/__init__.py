"""How did the tables come to be what they are?  One file for each step, never changed later."""

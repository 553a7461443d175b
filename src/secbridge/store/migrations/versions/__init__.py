"""How did the tables become what they are?  The steps, named by number and purpose."""

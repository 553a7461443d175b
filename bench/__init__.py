"""How fast is secbridge, and how large?  Measured against floors; never asserted."""

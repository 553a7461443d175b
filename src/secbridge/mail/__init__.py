"""What do the bytes of a mail mean?  Pure: bytes to values and values to bytes."""

"""The steps, named by number and purpose."""

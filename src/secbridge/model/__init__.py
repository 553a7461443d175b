"""What do we call things?  The words of the house: frozen values, one meaning each."""

"""What does ``python -m secbridge`` do?  The same as ``secbridge``."""

from secbridge.cli import main

if __name__ == "__main__":
    main()

"""The programs that people and other programs call.  Only this room writes to the terminal."""

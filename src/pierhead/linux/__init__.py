"""The only room that talks to the kernel.  It has the man pages' names and no policy."""

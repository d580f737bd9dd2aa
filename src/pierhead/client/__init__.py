"""A small synchronous client of the Docker API, for the command line."""

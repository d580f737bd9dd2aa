"""The API of Podman's remote clients over the same engine as Docker's: paths that begin with ``/libpod``."""

"""A registry: the OCI distribution protocol's server over the same store of contents that images use."""

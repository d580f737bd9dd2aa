"""The Docker Engine API over HTTP: routes, streams, versions.  It knows an engine by its ports only."""

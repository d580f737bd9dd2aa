"""The engine: containers with names, restarts, logs, volumes and networks, over the runtime and the images.

It knows Docker's words (HostConfig, volume, endpoint) and nothing of HTTP: ``pierhead.api`` serves it.
"""

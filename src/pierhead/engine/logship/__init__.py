"""Output goes on to a log of the machine's or of another one: ``journald`` and ``syslog``.

    monitor ──▶ log.json, log.json.1, … ──▶ Shippers ──▶ journald, syslog
                                   ▲            │
                                   └── shipped ◀┘   how far, noted after each line

The monitor writes files as it does for every container, and a task of the engine's sends on what stands in
them.  So an engine that is killed loses nothing: the next one goes on where this one stopped, and at most one
line comes twice.  A server that is down delays lines and no container.  ``docker logs`` reads the files.
"""

"""Containers that another OCI runtime program makes (runc, crun, runsc), under this library's monitor.

    program     the program and its verbs; what it says becomes a sentence
    document    our configuration as the specification's ``config.json``
    creation    create and run
    joining     exec
    terminal    a terminal's way from the program to whoever keeps it
    container   the container afterwards: ``runtime.load`` gives it, too

The program is launched as any first process is, and has the container's streams.  When it has made the
container it ends, and what it left behind becomes the child of the stage, which goes on as the monitor: log,
attach, exit record and live restore are those of every container (docs/adr/0016-runtime-programs.md).

One directory belongs to one container:

    HOME/ID/
      config.json   the bundle
      state/        the program's own (--root)
      root/         where the container's root is put together, in the program's mount namespace only
      log, pid      of create; exec-…/ the same of a further process, until it runs
      console       the socket at which the program hands over a terminal, until it has
      resources.json  of the last update
      program.json  how the program is called, for whoever clears up after a crash
"""

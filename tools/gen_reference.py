"""Writes docs/reference/pier.md, pierd.md, pier-runtime.md and nsinit.md from the programs' own tables of flags.

    python tools/gen_reference.py

A test compares the pages with what this would write.
"""
# ruff: noqa: E501 - rows of a Markdown table are one line each

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from pierhead.cli import daemon, nsinit, pier, runtime  # noqa: E402 - found by the line above
from pierhead.cli.daemon_options import OPTIONS, PASSED_OVER  # noqa: E402
from pierhead.cli.help import flag_about, flag_names  # noqa: E402
from pierhead.cli.program import find_verb  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.cli.flags import Flag, Verb
    from pierhead.cli.program import Program

PAGES = {"pier.md": pier.PROGRAM, "pier-runtime.md": runtime.PROGRAM, "nsinit.md": nsinit.PROGRAM}
_NOTES = {
    "pier-runtime": """## Exit status

`run` and `exec` in the foreground end as the process ended: with its status, or with 128 and the number of the signal
that ended it. Otherwise 0 is success, 255 is an `exec` that could not be done, and 1 is everything else.

## For engines

It is called as runc is. What callers rely on:

| caller | relies on |
|---|---|
| containerd's shim, dockerd | `--log FILE --log-format json`: the last object with `"level":"error"` has the message in `msg` |
| | the words `container does not exist`, `container not running`, `process already finished` in messages |
| | `--pid-file` is complete when it has its name, and it has it when the call returns |
| | `--console-socket`: the terminal's master arrives by SCM_RIGHTS, with its name as the message |
| conmon, Podman | `exec --process FILE --detach`, `--preserve-fds`, `LISTEN_FDS`, `--cgroup-manager disabled` |
| Kubernetes | `features`: `mountOptions` has `rro`, `linux.mountExtensions.idmap.enabled` is true |

How to use it: containerd `ctr run --runc-binary /path/to/pier-runtime`, Podman `podman --runtime /path/to/pier-runtime`,
dockerd `--add-runtime pier=/path/to/pier-runtime`.
""",
    "pier": """## Exit status

`run`, `exec`, `start --attach` and `attach` end as the command ended: with its status, or with 128 and the number of the
signal that ended it. `run` ends with 125 where the engine failed, 126 where the command cannot be executed, 127 where it is
not there. Otherwise 0 is success and 1 is an error.

## Files and variables

| | |
|---|---|
| `PIER_HOST`, `DOCKER_HOST` | where the engine is, as `--host` says it; the first goes before the second |
| `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH` | TLS with it: whether its certificate is verified, and the directory of ours |
| `PIER_CONTEXT`, `DOCKER_CONTEXT` | the context in use, as `--context` says it |
| `~/.config/pierhead/contexts/` | contexts, in the form of docker's, which are in `~/.docker/contexts/` |
| `PIER_IDLE_TIMEOUT` | after how many seconds an engine ends that `pier` has started; 300 |
| `PIER_BRIDGE` | the bridge of an engine with a `--root` of its own; `none` for no network |
| `/etc/pierhead/registries.toml`, `~/.config/pierhead/registries.toml` | mirrors, certificates, insecure registries |
| `/etc/pierhead/policy.toml`, or what `PIER_POLICY` names | which images must be signed, and by whom |
| `PIER_SHARE_FILES` | how layers that are unpacked share equal files: `none` (the default), `reflink`, `hardlink` |
| `~/.docker/config.json`, or the directory that `DOCKER_CONFIG` names | names and passwords, credential helpers |
| `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` | proxies |
| `PIER_PASSPHRASE` | of the key for `sign` |
| `SOURCE_DATE_EPOCH` | seconds since 1970: when an imported image was made |
| `NO_COLOR` | no colours |
""",
    "nsinit": """## Exit status

`exec` ends as its command ended: with its status, or with 128 and the number of the signal that ended it. Otherwise
0 is success and 1 is an error.
""",
}


def page(program: Program) -> str:
    """The reference page of a program."""
    about = program.about[0].upper() + program.about[1:]
    lines = [f"# {program.name}", "", f"{about}.", "", _paragraph(program.text), ""]
    lines += [
        "```",
        f"{program.name} [GLOBAL FLAGS] VERB [FLAGS] [ARGUMENTS]",
        f"{program.name} VERB --help",
        "```",
        "",
    ]
    lines += [
        "Values may follow a flag as a word or after an equals sign: `--flag VALUE`, `--flag=VALUE`.",
        "",
    ]
    lines += ["| verb | what it does |", "|---|---|"]
    lines += [
        f"| [{entry.name}](#{entry.name.replace(' ', '-')}) | {entry.about} |" for entry in program.entries
    ]
    lines += ["", "## Global flags", "", *_flags(program.flags), "", _NOTES[program.name]]
    for entry in program.entries:
        lines += _verb(program.name, find_verb(program, entry.name))
    return "\n".join(lines).rstrip() + "\n"


_DAEMON_NOTES = """## The configuration file

`/etc/pierhead/pierd.toml` (`~/.config/pierhead/pierd.toml` for an ordinary user) is read if it is there; `--config-file`
names another one. A file whose name does not end in `.toml` is JSON, in the form of docker's `daemon.json`. Both have the
keys of the table. What is said by a flag cannot be said in the file too, and a key that nobody knows is an error. Docker's
file itself is read only if it is named.

```toml
hosts = ["unix:///run/pierhead/pierd.sock", "tcp://0.0.0.0:2376"]
tlsverify = true
tlscacert = "/etc/pierhead/ca.pem"
tlscert = "/etc/pierhead/server.pem"
tlskey = "/etc/pierhead/server-key.pem"

[log-opts]
max-size = "10m"

[runtimes.crun]
path = "/usr/bin/crun"

[default-ulimits.nofile]
Soft = 1024
Hard = 4096
```

These keys of `daemon.json` are read and change nothing; each is warned of. Containers always outlive the daemon, as with
`live-restore`.

PASSED_OVER

`pierd --validate` says whether flags and file are right. SIGHUP reads the file anew: the log's level, the two times and the
certificates change at once, everything else needs a new start, which disturbs no container.

## Who may do what

- Whoever may write to the unix socket is root on the machine. It belongs to root and to the group of `--group`, with mode 0660.
- TCP without TLS lets everybody in who reaches the port; the log warns of it.
- With `--tlsverify` clients show a certificate of the authority. Whose subject has the organizational unit `read-only`
  (`/CN=dashboard/OU=read-only`) may send GET and HEAD only, and cannot attach by a web socket. What can be read includes
  environment variables, logs and files of containers.

## With systemd

`pierd` tells its service manager when it is ready, reloads and stops (`Type=notify`, or `notify-reload` from systemd 253
on), and takes sockets of a `.socket` unit with `--host fd://`. With `--idle-timeout` it ends when nothing runs and nobody has
asked for anything; the socket unit starts it again. `KillMode=process` leaves containers alone.
[Run pierd under systemd](../how-to/run-pierd-under-systemd.md) has the units.

## Figures

`--metrics-addr 127.0.0.1:9323` serves `/metrics` for Prometheus: requests by method, route and status, their times,
connections, containers by state, memory.
"""


def daemon_page() -> str:
    """The reference page of ``pierd``."""
    lines = ["# pierd", "", f"{daemon.ABOUT[0].upper()}{daemon.ABOUT[1:]}.", "", _paragraph(daemon.TEXT), ""]
    lines += ["```", "pierd [FLAGS]", "```", "", "| flag | key | what it does |", "|---|---|---|"]
    keys = {option.flag.name: f"`{option.key}`" for option in OPTIONS}
    lines += [
        f"| `{_cell(flag_names(flag))}` | {keys.get(flag.name, '')} | {_cell(flag_about(flag))} |"
        for flag in daemon.FLAGS
    ]
    passed_over = ", ".join(f"`{key}`" for key in sorted(PASSED_OVER))
    notes = _DAEMON_NOTES.replace("PASSED_OVER", textwrap.fill(passed_over, 120, break_on_hyphens=False))
    return "\n".join([*lines, "", notes]).rstrip() + "\n"


def _verb(program: str, verb: Verb) -> list[str]:
    usage = f"{program} {verb.name}{' [FLAGS]' if verb.flags else ''} {verb.arguments}".rstrip()
    about = verb.about[0].upper() + verb.about[1:]
    lines = [f"## {verb.name}", "", f"{about}.", "", "```", usage, "```", ""]
    if verb.text:
        lines += [_paragraph(verb.text), ""]
    if verb.flags:
        lines += [*_flags(verb.flags), ""]
    if verb.examples:
        lines.append("```sh")
        for words, what in verb.examples:
            lines += [f"# {what}", f"{program} {words}"]
        lines += ["```", ""]
    return lines


def _flags(flags: Sequence[Flag]) -> list[str]:
    rows = [f"| `{_cell(flag_names(flag))}` | {_cell(flag_about(flag))} |" for flag in flags]
    return ["| flag | what it does |", "|---|---|", *rows]


def _paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 110)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """The pages are as the tables say."""
    directory = ROOT / "docs" / "reference"
    directory.mkdir(parents=True, exist_ok=True)
    for name, program in PAGES.items():
        (directory / name).write_text(page(program))
    (directory / "pierd.md").write_text(daemon_page())


if __name__ == "__main__":
    main()

"""Writes docs/reference/pier.md, pier-runtime.md and nsinit.md from the programs' own tables of verbs and flags.

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

from pierhead.cli import nsinit, pier, runtime  # noqa: E402 - found by the line above
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

`run` ends as its command ended: with its status, or with 128 and the number of the signal that ended it. Otherwise 0 is
success and 1 is an error.

## Files and variables

| | |
|---|---|
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


if __name__ == "__main__":
    main()

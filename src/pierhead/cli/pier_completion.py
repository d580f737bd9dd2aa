"""``pier completion``: scripts for shells, made of the tables of verbs and flags."""

from __future__ import annotations

from pierhead.cli.flags import BadUsage, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pierhead.cli.call import Call
    from pierhead.cli.program import Program

SHELLS = ("bash", "zsh", "fish")
_ASK = {
    "CONTAINER": "pier ps --all --format '{{.Names}}' 2>/dev/null",
    "IMAGE": "pier images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null",
    "VOLUME": "pier volume ls --quiet 2>/dev/null",
}

_BASH = """# bash completion of pier; made by: pier completion bash
_pier() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" verb="" at
    for ((at = 1; at < COMP_CWORD; at++)); do
        case "${{COMP_WORDS[at]}}" in
            -*) ;;
            *) verb="${{verb:+$verb }}${{COMP_WORDS[at]}}"
               case " {groups} " in *" $verb "*) ;; *) break ;; esac ;;
        esac
    done
    local flags="{flags}" names="{verbs}"
    case "$verb" in
{cases}
    esac
    if [[ "$word" == -* ]]; then names="$flags"; fi
    mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
}}
complete -o default -F _pier pier
"""
_ZSH = """#compdef pier
# made by: pier completion zsh; bash's function is used as it is
autoload -Uz bashcompinit && bashcompinit
"""


def verbs_of(program: Program) -> dict[str, Verb]:
    """All verbs by their names, those of groups by both words, further names too."""
    from pierhead.cli.program import find_verb

    names = (*(entry.name for entry in program.entries), *program.aliases)
    return {name: find_verb(program, name) for name in names}


def _completion(call: Call) -> int:
    from pierhead.cli.pier import PROGRAM

    shell = call.arguments[0]
    if shell not in SHELLS:
        raise BadUsage(f"there is no completion for {shell!r}", hint=f"there are {', '.join(SHELLS)}")
    verbs = verbs_of(PROGRAM)
    script = _fish(PROGRAM, verbs) if shell == "fish" else _bash(PROGRAM, verbs)
    call.output.print(_ZSH + script if shell == "zsh" else script)
    return 0


def _groups(verbs: Mapping[str, Verb]) -> list[str]:
    return sorted({name.partition(" ")[0] for name in verbs if " " in name})


def _firsts(verbs: Mapping[str, Verb]) -> list[str]:
    return sorted({name.partition(" ")[0] for name in verbs})


def _flags(verb: Verb) -> list[str]:
    return [f"--{flag.name}" for flag in verb.flags] + ["--help"]


def _command_for(verb: Verb) -> str:
    """What prints names for the verb's arguments; "" where nothing can."""
    first = verb.arguments.strip("[]").partition(" ")[0].strip("[].")
    return next((command for noun, command in _ASK.items() if first.startswith(noun)), "")


def _bash(program: Program, verbs: Mapping[str, Verb]) -> str:
    cases = []
    for name, verb in sorted(verbs.items()):
        command = _command_for(verb)
        names = f'"$({command})"' if command else '""'
        cases.append(f'        "{name}") flags="{" ".join(_flags(verb))}"; names={names} ;;')
    for group in _groups(verbs):
        seconds = " ".join(sorted(name.split()[1] for name in verbs if name.startswith(f"{group} ")))
        if group not in verbs:
            cases.append(f'        "{group}") flags="--help"; names="{seconds}" ;;')
    return _BASH.format(
        groups=" ".join(_groups(verbs)),
        flags=" ".join(f"--{flag.name}" for flag in program.flags),
        verbs=" ".join(_firsts(verbs)),
        cases="\n".join(cases),
    )


def _fish(program: Program, verbs: Mapping[str, Verb]) -> str:
    lines = ["# fish completion of pier; made by: pier completion fish", "complete -c pier -f"]
    lines += [
        f"complete -c pier -n __fish_use_subcommand -l {flag.name} -d '{_escaped(flag.about)}'"
        for flag in program.flags
    ]
    for name, verb in sorted(verbs.items()):
        first, _, second = name.partition(" ")
        if second:
            seen = f"'__fish_seen_subcommand_from {first}; and __fish_seen_subcommand_from {second}'"
            lines.append(
                f"complete -c pier -n '__fish_seen_subcommand_from {first}' -a {second} "
                f"-d '{_escaped(verb.about)}'"
            )
        else:
            seen = f"'__fish_seen_subcommand_from {first}'"
            lines.append(f"complete -c pier -n __fish_use_subcommand -a {first} -d '{_escaped(verb.about)}'")
        for flag in verb.flags:
            short = f" -s {flag.short}" if flag.short else ""
            value = "" if flag.kind == "switch" else " -r"
            lines.append(
                f"complete -c pier -n {seen} -l {flag.name}{short}{value} -d '{_escaped(flag.about)}'"
            )
        command = _command_for(verb)
        if command:
            lines.append(f'complete -c pier -n {seen} -a "({command})"')
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


VERBS = {
    "completion": Verb(
        name="completion",
        arguments="SHELL",
        least=1,
        most=1,
        about="print a script that completes words in a shell",
        text="SHELL is bash, zsh or fish.",
        examples=(("completion bash > /etc/bash_completion.d/pier", "for everybody"),),
        perform=_completion,
    )
}

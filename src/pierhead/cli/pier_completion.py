"""``pier completion``: scripts for shells; ``pier complete``: what they ask for each word.

The scripts know nothing of verbs and flags.  No engine is started by somebody who presses the tabulator.
"""

from __future__ import annotations

from pierhead.cli import completing
from pierhead.cli.engine_call import open_running
from pierhead.cli.engine_place import find_place
from pierhead.cli.flags import BadUsage, Verb
from pierhead.errors import PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.cli.call import Call

FILES = ":files"
"""A line that stands for paths; no name of anything begins so."""

_BASH = r"""# bash completion of pier; made by: pier completion bash
_pier() {
    local line="${COMP_LINE:0:COMP_POINT}" word about
    local -a words=()
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    local begun="${words[-1]}" cut=""
    [[ "$begun" == *:* && "$COMP_WORDBREAKS" == *:* ]] && cut="${begun%:*}:"
    [[ "$begun" == *=* && "$COMP_WORDBREAKS" == *=* ]] && cut="${begun%%=*}="
    COMPREPLY=()
    while IFS=$'\t' read -r word about; do
        if [[ "$word" == ":files" ]]; then
            compopt -o filenames 2>/dev/null
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$begun")
        elif [[ "$word" == "$begun"* ]]; then
            COMPREPLY+=("${word#"$cut"}")
        fi
    done < <("${words[0]}" complete -- "${words[@]:1}" 2>/dev/null)
}
complete -F _pier pier
"""
_ZSH = r"""#compdef pier
# zsh completion of pier; made by: pier completion zsh
_pier() {
    local line files=0
    local -a names shown
    for line in "${(@f)$(${words[1]} complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ "$line" == ":files" ]]; then
            files=1
        elif [[ -n "$line" ]]; then
            names+=("${line%%$'\t'*}")
            shown+=("${line/$'\t'/  -- }")
        fi
    done
    (( $#names )) && compadd -l -d shown -a names
    (( files )) && _files
    return 0
}
if [[ "${funcstack[1]}" == "_pier" ]]; then _pier "$@"; else compdef _pier pier; fi
"""
_FISH = r"""# fish completion of pier; made by: pier completion fish
function __pier_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] complete -- $words[2..-1] 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c pier -f -a '(__pier_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def _completion(call: Call) -> int:
    shell = call.arguments[0]
    if shell not in SCRIPTS:
        raise BadUsage(f"there is no completion for {shell!r}", hint=f"there are {', '.join(SCRIPTS)}")
    call.output.print(SCRIPTS[shell])
    return 0


def _complete(call: Call) -> int:
    from pierhead.cli.pier import PROGRAM

    words = list(call.arguments)
    wanted = completing.find_wanted(PROGRAM, words)
    begun = words[-1] if words else ""
    lines = [f"{word}\t{about}" if about else word for word, about in wanted.words]
    if wanted.kinds:
        lines += _names(_as_typed(call, words), wanted.kinds)
    lines = [line for line in dict.fromkeys(lines) if line.startswith(begun)]
    if wanted.files:
        lines.append(FILES)
    call.output.print("".join(f"{line}\n" for line in lines))
    return 0


def _as_typed(call: Call, words: list[str]) -> Call:
    """The call with the program's flags that are typed before the verb: they say where the engine is."""
    from pierhead.cli.flags import parse
    from pierhead.cli.pier import PROGRAM
    from pierhead.cli.program import HELP

    try:
        options, _ = parse((*PROGRAM.flags, HELP), words, literal=True)
    except BadUsage:
        return call
    root, _ = PROGRAM.settle(options)
    return call.replace(program=options, root=root)


def _names(call: Call, kinds: Iterable[str]) -> list[str]:
    """Names of things of these kinds, as far as they can be had without waking anybody."""
    found: list[str] = []
    for kind in kinds:
        try:
            found += _NAMES[kind](call)
        except (PierheadError, OSError):
            continue
    return found


def _containers(call: Call) -> list[str]:
    found = open_running(call).get("/containers/json", all=True)
    return [f"{each['Names'][0].lstrip('/')}\t{each['Image']}: {each['Status']}" for each in found]


def _images(call: Call) -> list[str]:
    if not find_place(call).ours:
        found = open_running(call).get("/images/json")
        names = [name for each in found for name in each.get("RepoTags") or ()]
    else:
        from pierhead.cli.store import open_service
        from pierhead.images.reference import parse_reference

        with open_service(call) as service:
            names = [parse_reference(image.name).familiar() for image in service.library.images()]
    return sorted(names)


def _volumes(call: Call) -> list[str]:
    return [each["Name"] for each in open_running(call).get("/volumes").get("Volumes") or ()]


def _networks(call: Call) -> list[str]:
    return [each["Name"] for each in open_running(call).get("/networks")]


def _contexts(_: Call) -> list[str]:
    from pierhead.cli.contexts import list_contexts
    from pierhead.cli.engine_place import DEFAULT_CONTEXT

    return [DEFAULT_CONTEXT, *sorted(list_contexts())]


_NAMES = {
    completing.CONTAINER: _containers,
    completing.IMAGE: _images,
    completing.VOLUME: _volumes,
    completing.NETWORK: _networks,
    completing.CONTEXT: _contexts,
}
VERBS = {
    "completion": Verb(
        name="completion",
        arguments="SHELL",
        least=1,
        most=1,
        about="print a script that completes words in a shell",
        text="SHELL is bash, zsh or fish.",
        examples=(
            ("completion bash > /etc/bash_completion.d/pier", "for everybody"),
            ('completion zsh > "${fpath[1]}/_pier"', "in zsh"),
            ("completion fish > ~/.config/fish/completions/pier.fish", "in fish"),
        ),
        perform=_completion,
    ),
    "complete": Verb(
        name="complete",
        arguments="[WORD...]",
        most=None,
        about="print what can stand in the place of the last word",
        text="For the scripts of completion: each line is a word, a tabulator and what it means; "
        f"{FILES} stands for paths.",
        examples=(("complete -- volume ''", "verbs of volumes"),),
        literal=True,
        perform=_complete,
    ),
}

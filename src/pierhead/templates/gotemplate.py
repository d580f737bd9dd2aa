"""Go's templates, as far as ``--format`` is written with them.  Pure.

    {{.Names}}  {{json .}}  {{.State.Status | upper}}  {{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}
    {{if eq .State "running"}}yes{{else}}no{{end}}  {{index .Mounts 0}}  {{printf "%s-%d" .A 3}}

Values are those of JSON.  A field is found by its name, else without regard to capitals, as docker finds
``.ID`` where the document says ``Id``.  A function that is a member is a method: ``{{.Label "a"}}``.

Source: the documentation of Go's package text/template, and docker's "Format command and log output".
"""

from __future__ import annotations

from pierhead.templates.gofunctions import FUNCTIONS, LAZY, NOTHING, format_value, is_true
from pierhead.templates.gowords import BadTemplate, Word, split_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Scope = dict[str, Any]
    Node = Callable[[Any, Scope], str]
    Expression = Callable[[Any, Scope], Any]

_ESCAPES = {"\\t": "\t", "\\n": "\n"}


def parse_template(text: str) -> Node:
    r"""A function of a value that gives the text; ``\t`` and ``\n`` outside of actions are what they say.

    Raises:
        BadTemplate: it is no template.
    """
    reader = _Reader(split_template(text))
    nodes, end = reader.block()
    if end:
        raise BadTemplate(f"the template has an {{{{{end}}}}} too many")
    return _sequence(nodes)


def format_template(text: str, value: Any) -> str:
    """The value as the template writes it.

    Raises:
        BadTemplate: it is no template, or does not go with the value.
    """
    return parse_template(text)(value, {"$": value})


def split_template(text: str) -> list[tuple[str, str]]:
    """Pieces of text (``""``, text) and actions (``{{``, inside), with blanks trimmed where ``-`` says so.

    Raises:
        BadTemplate: an action does not end.
    """
    pieces: list[tuple[str, str]] = []
    at, trim = 0, False
    while at < len(text):
        begin = text.find("{{", at)
        plain = text[at:] if begin < 0 else text[at:begin]
        plain = plain.lstrip() if trim else plain
        if begin < 0:
            pieces.append(("", plain))
            break
        end = _end_of_action(text, begin + 2)
        inside = text[begin + 2 : end]
        if inside.startswith(("- ", "-\n", "-\t")):
            inside, plain = inside[1:], plain.rstrip()
        trim = inside.endswith((" -", "\n-", "\t-"))
        inside = inside[:-1] if trim else inside
        pieces += [("", plain)] if plain else []
        pieces.append(("{{", inside.strip()))
        at = end + 2
    return pieces


def _end_of_action(text: str, at: int) -> int:
    """Where its ``}}`` is: not within quotes."""
    quote = ""
    while at < len(text):
        letter = text[at]
        if quote:
            if letter == "\\" and quote == '"':
                at += 1
            elif letter == quote:
                quote = ""
        elif letter in '"`':
            quote = letter
        elif text.startswith("}}", at):
            return at
        at += 1
    raise BadTemplate("the template has an action without an end", hint="it ends with }}")


def _sequence(nodes: list[Node]) -> Node:
    return lambda dot, scope: "".join([node(dot, scope) for node in nodes])


class _Reader:
    """Pieces of a template, consumed from the left."""

    def __init__(self, pieces: list[tuple[str, str]]) -> None:
        self._pieces = pieces
        self._at = 0

    def block(self) -> tuple[list[Node], str]:
        """Nodes up to an ``end`` or ``else``, and which of them ended it with its words; "" for the end."""
        nodes: list[Node] = []
        while self._at < len(self._pieces):
            kind, text = self._pieces[self._at]
            self._at += 1
            if not kind:
                nodes.append(_plain(text))
                continue
            if text.startswith("/*"):
                continue
            first = text.split(None, 1)[0] if text else ""
            if first in ("end", "else"):
                return nodes, text
            nodes.append(self._action(first, text))
        return nodes, ""

    def _action(self, first: str, text: str) -> Node:
        if first in ("if", "with", "range"):
            return self._branch(first, text[len(first) :].strip())
        if first in ("define", "template", "block", "break", "continue"):
            raise BadTemplate(f"{{{{{first}}}}} is not for templates of one value")
        words = split_words(text)
        if len(words) > 2 and words[0].kind == "variable" and words[1].text in (":=", "="):
            return _assign(words[0].text, _pipeline(words[2:]))
        expression = _pipeline(words)
        return lambda dot, scope: format_value(expression(dot, scope))

    def _branch(self, kind: str, head: str) -> Node:
        names, expression = _head(head)
        yes, no = self._two_blocks()
        if kind == "range":
            return _range(names, expression, yes, no)
        changes_dot = kind == "with"

        def choose(dot: Any, scope: Scope) -> str:
            value = expression(dot, scope)
            inner = {**scope, **dict.fromkeys(names, value)}
            if is_true(value):
                return yes(value if changes_dot else dot, inner)
            return no(dot, scope)

        return choose

    def _two_blocks(self) -> tuple[Node, Node]:
        """What is between the head and its ``end``, and what is behind an ``else``."""
        nodes, end = self.block()
        yes = _sequence(nodes)
        if end == "end":
            return yes, _plain("", raw=True)
        if not end:
            raise BadTemplate("the template has a block without an {{end}}")
        rest = end[len("else") :].strip()
        if rest:
            first = rest.split(None, 1)[0]
            if first not in ("if", "with"):
                raise BadTemplate(f"the template has {{{{{end}}}}}")
            return yes, self._branch(first, rest[len(first) :].strip())
        others, last = self.block()
        if last != "end":
            raise BadTemplate("the template has a block without an {{end}}")
        return yes, _sequence(others)


def _plain(text: str, *, raw: bool = False) -> Node:
    if not raw:
        for escape, letter in _ESCAPES.items():
            text = text.replace(escape, letter)
    return lambda _dot, _scope: text


def _assign(name: str, expression: Expression) -> Node:
    def assign(dot: Any, scope: Scope) -> str:
        scope[name] = expression(dot, scope)
        return ""

    return assign


def _head(text: str) -> tuple[list[str], Expression]:
    """Names of variables, and what they get: ``$k, $v := .Labels``."""
    words = split_words(text)
    texts = [word.text for word in words]
    if ":=" in texts:
        at = texts.index(":=")
        names = [word.text for word in words[:at] if word.kind == "variable"]
        return names, _pipeline(words[at + 1 :])
    return [], _pipeline(words)


def _range(names: list[str], expression: Expression, yes: Node, no: Node) -> Node:
    def repeat(dot: Any, scope: Scope) -> str:
        value = expression(dot, scope)
        if isinstance(value, dict):
            items: list[tuple[Any, Any]] = sorted(value.items())
        elif isinstance(value, (list, tuple)):
            items = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            items = [(number, number) for number in range(value)]
        elif value is None or value is NOTHING:
            items = []
        else:
            raise BadTemplate(f"range cannot go over {format_value(value)}")
        if not items:
            return no(dot, scope)
        parts = []
        for key, each in items:
            given = {names[-1]: each} if names else {}
            if len(names) > 1:
                given[names[0]] = key
            parts.append(yes(each, {**scope, **given}))
        return "".join(parts)

    return repeat


# Expressions


def _pipeline(words: list[Word]) -> Expression:
    """Commands joined by ``|``: what one gives is the last argument of the next."""
    commands: list[list[Word]] = [[]]
    depth = 0
    for word in words:
        depth += (word.text == "(" and word.kind == "sign") - (word.text == ")" and word.kind == "sign")
        if word.kind == "sign" and word.text == "|" and not depth:
            commands.append([])
        else:
            commands[-1].append(word)
    if not all(commands):
        raise BadTemplate("the template has an empty action")
    steps = [_command(command) for command in commands]

    def run(dot: Any, scope: Scope) -> Any:
        value = steps[0](dot, scope, ())
        for step in steps[1:]:
            value = step(dot, scope, (value,))
        return value

    return run


def _command(words: list[Word]) -> Callable[[Any, Scope, tuple[Any, ...]], Any]:
    operands = _operands(words)
    first = words[0]
    if first.kind == "name":
        if first.text not in FUNCTIONS:
            from pierhead.nearest import nearest

            near = nearest(first.text, list(FUNCTIONS))
            hint = f"did you mean {near}?" if near else f"fields begin with a dot: .{first.text}"
            raise BadTemplate(f"the template's function {first.text!r} is unknown", hint=hint)
        return _function(first.text, operands[1:])

    def value_or_method(dot: Any, scope: Scope, piped: tuple[Any, ...]) -> Any:
        value = operands[0](dot, scope)
        given = [each(dot, scope) for each in operands[1:]] + list(piped)
        if callable(value):
            return _apply(first.text, value, given)
        if given:
            raise BadTemplate(f"the template gives an argument to {first.text}")
        return value

    return value_or_method


def _function(name: str, operands: list[Expression]) -> Callable[[Any, Scope, tuple[Any, ...]], Any]:
    function = FUNCTIONS[name]

    def call(dot: Any, scope: Scope, piped: tuple[Any, ...]) -> Any:
        if name in LAZY and not piped:
            return function(*(lambda each=each: each(dot, scope) for each in operands))
        given = [each(dot, scope) for each in operands] + list(piped)
        if name in LAZY:
            return function(*(lambda value=value: value for value in given))
        return _apply(name, function, given)

    return call


def _apply(name: str, function: Callable[..., Any], given: list[Any]) -> Any:
    try:
        return function(*given)
    except (TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
        raise BadTemplate(f"the template's {name} fails: {error}") from None


def _operands(words: list[Word]) -> list[Expression]:
    found: list[Expression] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word.kind == "sign" and word.text == "(":
            end = _closing(words, at)
            inner = _pipeline(words[at + 1 : end])
            at = end + 1
            if at < len(words) and words[at].kind == "field" and words[at].joined:
                inner, at = _fields_of(inner, words[at].text), at + 1
            found.append(inner)
            continue
        found.append(_operand(word))
        at += 1
    return found


def _closing(words: list[Word], at: int) -> int:
    depth = 0
    for number in range(at, len(words)):
        if words[number].kind == "sign":
            depth += (words[number].text == "(") - (words[number].text == ")")
            if not depth:
                return number
    raise BadTemplate("the template has a ( without a )")


def _operand(word: Word) -> Expression:
    if word.kind == "field":
        return _fields_of(lambda dot, _scope: dot, word.text)
    if word.kind == "variable":
        name, dot_sign, rest = word.text.partition(".")
        base = _variable(name)
        return _fields_of(base, f".{rest}") if dot_sign else base
    if word.kind == "value":
        return lambda _dot, _scope: word.value
    if word.kind == "name":
        function = FUNCTIONS.get(word.text, lambda: NOTHING)
        return lambda _dot, _scope: _apply(word.text, function, [])
    raise BadTemplate(f"the template has a {word.text!r} where a value should be")


def _variable(name: str) -> Expression:
    def find(_dot: Any, scope: Scope) -> Any:
        if name not in scope:
            raise BadTemplate(f"the template's variable {name} is unknown")
        return scope[name]

    return find


def _fields_of(base: Expression, path: str) -> Expression:
    names = [name for name in path.split(".") if name]

    def find(dot: Any, scope: Scope) -> Any:
        value = base(dot, scope)
        for name in names:
            value = find_field(value, name)
        return value

    return find


def find_field(value: Any, name: str) -> Any:
    """The member of this name; NOTHING where a map of free names has none.

    Raises:
        BadTemplate: a document has no such field.
    """
    if value is None or value is NOTHING:
        return NOTHING
    if not isinstance(value, dict):
        raise BadTemplate(f"the template asks for .{name} of {format_value(value)[:60]}")
    if name in value:
        return value[name]
    lowered = name.lower()
    for key, each in value.items():
        if key.lower() == lowered:
            return each
    if not value or not all(key[:1].isupper() for key in value):
        return NOTHING
    from pierhead.nearest import nearest

    near = nearest(name, list(value))
    hint = f"did you mean .{near}?" if near else f"there are {', '.join(sorted(value))}"
    raise BadTemplate(f"the template's field .{name} is unknown", hint=hint)

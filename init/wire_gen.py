"""Makes both sides of the wire from wire.def.  Usage: wire_gen.py wire.def OUT.h OUT.py."""

from __future__ import annotations

import sys
from pathlib import Path

LINE_MAX = 110
SIGNATURE = {"u": "u", "s": "s", "b": "b", "f": "f"}


class Wire:
    """The definition, read."""

    def __init__(self, text: str) -> None:
        self.version = 0
        self.messages: list[tuple[str, int]] = []
        self.constants: list[tuple[str, int]] = []
        self.header: list[tuple[str, str]] = []
        self.operations: list[tuple[str, list[tuple[str, str]], str]] = []
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split("|")[0].split()
            if words and not line.startswith("#"):
                self._read(words, line, number)

    def _read(self, words: list[str], line: str, number: int) -> None:
        match words:
            case ["version", version]:
                self.version = int(version)
            case ["message", name, value]:
                self.messages.append((name, int(value)))
            case ["const", name, value]:
                self.constants.append((name, int(value)))
            case ["header", field, *_]:
                self.header.append(self._argument(field, number))
            case ["op", name, *arguments]:
                fields = [self._argument(field, number) for field in arguments]
                self.operations.append((name, fields, line.partition("|")[2].strip()))
            case _:
                raise SystemExit(f"wire.def:{number}: not understood: {line}")

    @staticmethod
    def _argument(field: str, number: int) -> tuple[str, str]:
        kind, colon, name = field.partition(":")
        if not colon or kind not in SIGNATURE:
            raise SystemExit(f"wire.def:{number}: not an argument: {field}")
        return kind, name


def c_header(wire: Wire) -> str:
    """The table as a C header."""
    out = ["/* Made by wire_gen.py from wire.def: change that file. */", "#pragma once", ""]
    out += [f"#define WIRE_VERSION {wire.version}", ""]
    out += ["enum {"] + [f"\tMESSAGE_{name.upper()} = {value}," for name, value in wire.messages] + ["};"]
    out += ["enum {"] + [f"\t{name} = {value}," for name, value in wire.constants] + ["};", ""]
    out += ["enum {"] + [f"\tHEADER_{name.upper()}," for _, name in wire.header] + ["\tHEADER_FIELDS", "};"]
    out += [f'#define HEADER_SIGNATURE "{"".join(kind for kind, _ in wire.header)}"', ""]
    out += ["enum {"] + [f"\tOP_{name.upper()}," for name, _, _ in wire.operations] + ["\tOP_COUNT", "};"]
    for name, arguments, _ in wire.operations:
        if arguments:
            out.append(
                "enum { " + ", ".join(f"{name.upper()}_ARG_{arg.upper()}" for _, arg in arguments) + " };"
            )
    widest = max(len(arguments) for _, arguments, _ in wire.operations)
    out += ["", f"#define OP_MAX_ARGUMENTS {widest}"]
    signatures = ", ".join(
        '"' + "".join(k for k, _ in arguments) + '"' for _, arguments, _ in wire.operations
    )
    names = " ".join(f"X({name.upper()}, {name})" for name, _, _ in wire.operations)
    out += [f"#define OP_SIGNATURES {{ {signatures} }}", f"#define FOR_EACH_OP(X) {names}", ""]
    return "\n".join(out)


def python_module(wire: Wire) -> str:
    """The table as a Python module."""
    out = ['"""The wire\'s numbers.  Made by init/wire_gen.py from init/wire.def: change that file."""', ""]
    out += [f"VERSION = {wire.version}", ""]
    out += [f"MESSAGE_{name.upper()} = {value}" for name, value in wire.messages] + [""]
    out += [f"{name} = {value}" for name, value in wire.constants] + [""]
    out += ["HEADER = ("] + [f'    ("{kind}", "{name}"),' for kind, name in wire.header] + [")", ""]
    out += ["# name: (number, signature, argument names, manual)"]
    out += ["OPERATIONS: dict[str, tuple[int, str, tuple[str, ...], str]] = {"]
    for number, (name, arguments, manual) in enumerate(wire.operations):
        signature = "".join(kind for kind, _ in arguments)
        names = "".join(f'"{arg}", ' for _, arg in arguments)
        names = "(" + (names if len(arguments) == 1 else names.removesuffix(", ")).strip() + ")"
        items = (str(number), f'"{signature}"', names, f'"{manual}"')
        line = f'    "{name}": ({", ".join(items)}),'
        if len(line) > LINE_MAX:  # as the formatter has it
            line = "\n".join([f'    "{name}": (', *(f"        {item}," for item in items), "    ),"])
        out.append(line)
    return "\n".join([*out, "}", ""])


def main() -> None:
    """Writes both files."""
    source, header, module = (Path(argument) for argument in sys.argv[1:4])
    wire = Wire(source.read_text())
    for path, text in ((header, c_header(wire)), (module, python_module(wire))):
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


if __name__ == "__main__":
    main()

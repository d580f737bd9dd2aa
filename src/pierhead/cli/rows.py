"""Lists as docker prints them: a table, a table of a template, a template for each row, JSON for each row."""

from __future__ import annotations

from pierhead.cli.flags import Flag
from pierhead.figures import format_columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from pierhead.cli.output import Output

    Row = dict[str, Any]

FORMAT = Flag(
    name="format", value="TEMPLATE", about="table, json, or a template in Go's language", default="table"
)
FILTER = Flag(name="filter", short="f", kind="list", value="NAME=VALUE", about="only those of which it is so")
NO_TRUNC = Flag(name="no-trunc", kind="switch", about="print ids and commands whole")
QUIET = Flag(name="quiet", short="q", kind="switch", about="print ids or names only")
_ID_LENGTH = 12


def short_id(identity: str, *, whole: bool = False) -> str:
    """Twelve figures of an id, as people read it."""
    return identity if whole else identity.removeprefix("sha256:")[:_ID_LENGTH]


def show_rows(
    output: Output, form: str, rows: Iterable[Row], headings: Mapping[str, str], default: Sequence[str]
) -> None:
    """The rows are printed.

    Args:
        output: where.
        form: ``table``, ``table TEMPLATE``, ``json`` or a template; "" is ``table``.
        rows: by names of fields; a member that is a function is a method for templates.
        headings: of the fields.
        default: fields of the table.

    Raises:
        BadUsage: the form is no template.
    """
    rows = list(rows)
    if form in ("", "table"):
        cells = [[str(row[name]) for name in default] for row in rows]
        output.print(format_columns([[headings[name] for name in default], *cells]))
    elif form == "json":
        output.print("".join(_row_json(row) for row in rows))
    else:
        _show_template(output, form, rows, headings)


def _show_template(output: Output, form: str, rows: list[Row], headings: Mapping[str, str]) -> None:
    from pierhead.templates.gotemplate import parse_template

    table = form.startswith(("table ", "table\t"))
    write: Callable[[Any, dict[str, Any]], str] = parse_template(form[len("table ") :] if table else form)
    lines = [write(row, {"$": row}) for row in rows]
    if not table:
        output.print("".join(f"{line}\n" for line in lines))
        return
    titles = Headings(headings)
    split = [line.split("\t") for line in (write(titles, {"$": titles}), *lines)]
    width = max(map(len, split))
    output.print(format_columns([[*cells, *[""] * (width - len(cells))] for cells in split]))


class Headings(dict[str, object]):
    """Headings by fields; of a field that has none, its name; of a method, its argument's last word."""

    def __init__(self, headings: Mapping[str, str]) -> None:
        super().__init__(headings)
        self["Label"] = lambda name: name.rpartition(".")[2]

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return name.upper()


def _row_json(row: Row) -> str:
    from pierhead.jsontext import format_compact

    told = {key: row[key] for key in sorted(row) if not callable(row[key])}
    return f"{format_compact(told)}\n"


def show_documents(output: Output, form: str, documents: Sequence[Any]) -> None:
    """Documents of an inspection are printed: all as one JSON list, or each by the template."""
    if form in ("", "json"):
        from pierhead.jsontext import format_compact, format_indented

        output.print(format_compact(list(documents)) + "\n" if form else format_indented(list(documents)))
        return
    from pierhead.templates.gotemplate import format_template

    for document in documents:
        output.print(f"{format_template(form, document)}\n")

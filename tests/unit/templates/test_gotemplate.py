"""Templates give what Go's text/template gives."""

from __future__ import annotations

from typing import Any

import pytest

from pierhead.templates.gotemplate import format_template
from pierhead.templates.gowords import BadTemplate

CONTAINER: dict[str, Any] = {
    "Id": "abc",
    "Name": "/web",
    "State": {"Status": "running", "Running": True, "Pid": 7, "Health": None},
    "Config": {"Labels": {"a": "1", "b": "2"}, "Env": ["X=1", "Y=2"], "Cmd": None},
    "Mounts": [{"Source": "/here", "RW": True}],
    "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "192.0.2.7"}}, "Ports": {}},
    "Label": lambda name: f"label of {name}",
}


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("{{.Name}}", "/web"),
        ("{{ .ID }}", "abc"),
        ("{{.State.Status}}!", "running!"),
        ("{{.State.Running}} {{.State.Pid}}", "true 7"),
        ("{{.Config.Labels}}", "map[a:1 b:2]"),
        ("{{.Config.Env}}", "[X=1 Y=2]"),
        ("{{.Config.Labels.none}}", "<no value>"),
        ("{{json .Config.Env}}", '["X=1","Y=2"]'),
        ("{{json .State}}", '{"Status":"running","Running":true,"Pid":7,"Health":null}'),
        ('{{.Name | upper | printf "%q"}}', '"/WEB"'),
        ('{{join .Config.Env ","}}', "X=1,Y=2"),
        ("{{len .Config.Env}} {{len .Config.Cmd}}", "2 0"),
        ("{{index .Config.Env 1}}", "Y=2"),
        ("{{(index .Mounts 0).Source}}", "/here"),
        ('{{index .Config.Labels "a"}}', "1"),
        ('{{with index .NetworkSettings.Networks "bridge"}}{{.IPAddress}}{{end}}', "192.0.2.7"),
        ("{{range .Config.Env}}<{{.}}>{{end}}", "<X=1><Y=2>"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}", "a=1 b=2 "),
        ("{{range $i, $e := .Config.Env}}{{$i}}:{{$.Name}} {{end}}", "0:/web 1:/web "),
        ("{{range .NetworkSettings.Ports}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ('{{if eq .State.Status "exited"}}a{{else if eq .State.Status "running"}}b{{else}}c{{end}}', "b"),
        ("{{if and .State.Running (gt .State.Pid 3)}}both{{end}}", "both"),
        ("{{if or .State.Health .Config.Cmd}}a{{else}}neither{{end}}", "neither"),
        ("{{if not .State.Health}}ill{{end}}", "ill"),
        ("{{with .State.Health}}{{.Status}}{{else}}no check{{end}}", "no check"),
        ("a\\tb{{println .Id}}", "a\tbabc\n"),
        ("x {{- .Id -}} y", "xabcy"),
        ("{{/* nothing */}}{{$x := .Id}}{{$x}}{{$x}}", "abcabc"),
        ('{{printf "%-5s|%3d" .Id .State.Pid}}', "abc  |  7"),
        ('{{.Label "a.b"}}', "label of a.b"),
        ('{{slice .Id 0 2}} {{truncate .Id 1}} {{title "x"}} {{lower "X"}}', "ab a X x"),
        ('{{"}}"}}', "}}"),
        ('{{range split .Config.Labels.a "."}}{{.}}{{end}}', "1"),
    ],
)
def test_templates(template: str, wanted: str) -> None:
    """Fields, pipelines, functions, conditions, loops, variables, trimmed blanks."""
    assert format_template(template, CONTAINER) == wanted


@pytest.mark.parametrize(
    ("template", "message", "hint"),
    [
        ("{{.Nme}}", ".Nme is unknown", "did you mean .Name?"),
        ("{{.Name", "without an end", "}}"),
        ("{{if .Name}}x", "without an {{end}}", ""),
        ("{{end}}", "{{end}} too many", ""),
        ("{{jsn .}}", "'jsn' is unknown", "did you mean json?"),
        ("{{Name}}", "'Name' is unknown", ".Name"),
        ("{{}}", "an empty action", ""),
        ("{{.Name.Deeper}}", ".Deeper of /web", ""),
        ("{{index .Mounts 3}}", "index fails", ""),
        ('{{"open}}', "without an end", ""),
        ("{{range .Name}}{{end}}", "cannot go over", ""),
        ("{{$x}}", "$x is unknown", ""),
        ("{{(.Name}}", "a ( without a )", ""),
        ('{{template "x"}}', "not for templates of one value", ""),
        ("{{.Label}}", "the template's .Label fails", ""),
        ("{{json upper}}", "the template's upper fails", ""),
        ("{{if not}}x{{end}}", "the template's not fails", ""),
    ],
)
def test_what_is_no_template(template: str, message: str, hint: str) -> None:
    """One sentence says what is wrong."""
    with pytest.raises(BadTemplate) as caught:
        format_template(template, CONTAINER)
    assert message in caught.value.message
    assert hint in caught.value.hint

"""A long day with Podman's remote client, which speaks libpod's API, and a ``pierd`` of one's own."""

from __future__ import annotations

import json
import tarfile
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.daemons import daemon
from tests.support.peers import wait_until
from tests.support.pierds import IMAGE, add_image, fetch
from tests.support.podman_remote import Podman
from tests.support.registries import registry
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.daemons import Daemon

pytestmark = requires("root", "podman", "busybox", "ip", "curl")

FOREVER = ("sleep", "1000")
NAME = f"docker.io/library/{IMAGE}:latest"


def has_said(podman: Podman, name: str, count: int) -> bool:
    """Whether the container has written so many lines."""
    return len(podman("logs", name).stdout.splitlines()) == count


# Running


def test_run(podman: Podman) -> None:
    """Each output on its own stream, the exit code; ``--rm`` leaves nothing, and nobody complains."""
    done = podman("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7", status=7)
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert podman.says("ps", "--all", "--quiet") == ""


def test_exit_codes(podman: Podman) -> None:
    """Podman's own for what could not begin, found again in the engine's sentences."""
    assert "not found" in podman.refuses("run", "--rm", IMAGE, "nosuch", status=127)
    assert "permission denied" in podman.refuses("run", "--rm", IMAGE, "/etc/passwd", status=126)
    assert "no such container" in podman.refuses("run", "--rm", "--network=container:away", IMAGE, status=125)
    assert "image not known" in podman.refuses("create", "--pull=never", "away", status=125)
    assert podman.says("ps", "--all", "--quiet") == ""


def test_standard_input(podman: Podman) -> None:
    """A container and a further process read all of it, and its end."""
    text = b"x" * 300_000
    assert podman("run", "--rm", "-i", IMAGE, "wc", "-c", feed=text).stdout.strip() == b"300000"
    podman("run", "-d", "--name", "reader", IMAGE, *FOREVER)
    assert podman("exec", "-i", "reader", "wc", "-c", feed=text).stdout.strip() == b"300000"


def test_terminals(podman: Podman) -> None:
    """A container and a further process have one; what is typed is read, and the status is theirs."""
    with podman.typing("run", "-it", "--name", "typed", IMAGE, "sh") as it:
        it.see(b"/ #")
        it.type(b"tty; echo $((6 * 7)); exit 9\n")
        it.see(b"/dev/pts/0\r\n42")
        assert it.end() == 9
    podman("start", "typed")
    with podman.typing("exec", "-it", "typed", "sh") as it:
        it.see(b"/ #")
        it.type(b"tty; exit 5\n")
        it.see(b"/dev/pts/")
        assert it.end() == 5
    assert "42" in podman.says("logs", "typed")


def test_attach(podman: Podman) -> None:
    """Who comes later sees what is written from then on; who starts it, all."""
    podman("create", "-i", "--name", "echoes", IMAGE, "sh", "-c", "read it; echo got $it; exit 3")
    assert podman("start", "-a", "-i", "echoes", feed=b"this\n", status=3).stdout == b"got this\n"
    podman("run", "-d", "-i", "--name", "later", IMAGE, "sh", "-c", "read it; echo got $it")
    assert podman("attach", "later", feed=b"that\n").stdout == b"got that\n"


def test_options_reach_the_container(podman: Podman, tmp_path: Path) -> None:
    """User, directory, environment, host name, limits, mounts, rights and a process that reaps."""
    tmp_path.chmod(0o755)
    (tmp_path / "given").write_text("from the host\n")
    script = (
        "id -u; id -G; pwd; echo $COLOUR; hostname; ulimit -n; cat /given/given;"
        " touch /x 2>/dev/null || echo read-only; touch /scratch/y && echo scratch;"
        " grep -c 'CapEff:.0*$' /proc/self/status; cat /proc/1/comm"
    )
    options = ["--user=1:2", "--group-add=5", "--workdir=/tmp", "--env=COLOUR=blue", "--hostname=there"]
    options += ["--ulimit=nofile=100:200", "--volume", f"{tmp_path}:/given:ro", "--read-only"]
    options += ["--tmpfs=/scratch:mode=1777,size=1m", "--cap-drop=all", "--security-opt=no-new-privileges"]
    options += ["--memory=64m", "--pids-limit=50", "--init", "--label=a=b", "--annotation=c=d"]
    said = podman.lines("run", "--name", "many", *options, IMAGE, "sh", "-c", script)
    assert said[:6] == ["1", "2 5", "/tmp", "blue", "there", "100"]
    assert said[6:10] == ["from the host", "read-only", "scratch", "1"]
    known = json.loads(podman.says("inspect", "many"))[0]
    assert known["HostConfig"]["Memory"] == 64 << 20
    assert known["Config"]["Labels"] == {"a": "b"}
    assert known["Config"]["Annotations"] == {"c": "d"}
    assert known["HostConfig"]["CapDrop"] == ["CAP_ALL"] or known["HostConfig"]["CapDrop"] == ["ALL"]


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("--umask=0077", "umask"),
        ("--timeout=5", "timeout"),
        ("--userns=keep-id", "keep-id"),
        ("--pod=p", "pod"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(podman: Podman, option: str, word: str) -> None:
    """Nothing that matters is passed over."""
    said = podman.refuses("create", option, IMAGE, status=125)
    assert f'"{word}"' in said
    assert "not supported by this engine" in said


# Looking


def test_a_container_that_serves(running: Daemon, podman: Podman) -> None:
    """Its port, its place in the list, its description, figures, processes and health."""
    options = ("-p", "8099:80", "--label", "part=web", "--health-cmd", "test -e /www")
    script = "mkdir /www; echo hello >/www/index.html; httpd -f -h /www"
    identity = podman.says("run", "-d", "--name", "web", *options, IMAGE, "sh", "-c", script)
    wait_until(lambda: podman("exec", "web", "true").returncode == 0, what="a process in it")
    wait_until(lambda: b"httpd" in podman("top", "web", "args").stdout, what="the server")
    assert fetch(running, 8099) == "hello\n"
    assert podman.says("port", "web") == "80/tcp -> 0.0.0.0:8099"
    columns = "{{.Names}}|{{.Image}}|{{.Ports}}"
    listed = podman.says("ps", "--filter", "label=part=web", "--format", columns)
    assert listed == f"web|{NAME}|0.0.0.0:8099->80/tcp"
    assert podman.says("ps", "--no-trunc", "-q", "--filter", "name=web") == identity
    told = podman.says(
        "inspect", "--format", "{{.State.Status}} {{.ImageName}} {{.NetworkSettings.IPAddress}}", "web"
    )
    assert told.startswith(f"running {NAME} 172.17.")
    assert podman.lines("top", "web")[0].split()[:3] == ["USER", "PID", "PPID"]
    used = json.loads(podman.says("stats", "--no-stream", "--format", "json", "web"))[0]
    assert used["name"] == "web"
    assert int(used["pids"]) >= 1
    podman("healthcheck", "run", "web")
    podman("exec", "web", "rm", "-r", "/www")
    podman("healthcheck", "run", "web", status=1)
    podman("container", "exists", "web")
    podman("container", "exists", "away", status=1)


def test_logs(podman: Podman) -> None:
    """Of both streams, of a terminal, the last of them, with times, and until the end."""
    script = "echo one; echo two >&2; echo three"
    podman("run", "-d", "--name", "speaks", IMAGE, "sh", "-c", script)
    wait_until(partial(has_said, podman, "speaks", 2), what="its output")
    done = podman("logs", "speaks")
    assert (done.stdout, done.stderr) == (b"one\nthree\n", b"two\n")
    assert podman.says("logs", "--follow", "--since=10m", "speaks") == "one\nthree"
    podman("run", "--name", "counts", IMAGE, "seq", "3")
    assert podman.says("logs", "--tail=1", "counts") == "3"
    assert podman.says("logs", "--timestamps", "--tail=1", "counts").endswith("Z 3")
    podman("run", "-t", "--name", "terminal", IMAGE, "echo", "drawn")
    assert podman.says("logs", "terminal") == "drawn"


def test_a_life(podman: Podman) -> None:
    """Pause, rename, update, signals, stop, start, restart, wait and removal, each with its events."""
    script = "trap 'exit 3' TERM; trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done"
    identity = podman.says("run", "-d", "--name", "first", IMAGE, "sh", "-c", script)
    wait_until(partial(has_said, podman, "first", 1), what="its first line")
    podman("pause", "first")
    assert podman.says("ps", "--quiet", "--no-trunc", "--filter", "status=paused") == identity
    podman("unpause", "first")
    podman("rename", "first", "second")
    podman("kill", "--signal=HUP", "second")
    wait_until(partial(has_said, podman, "second", 2), what="its answer to the signal")
    assert "container state improper" in podman.refuses("rm", "second", status=2)
    podman("stop", "second")
    assert podman.says("wait", "second") == "3"
    podman("stop", "second")
    assert "container state improper" in podman.refuses("exec", "second", "true", status=125)
    podman("start", "second")
    podman("restart", "--time=0", "second")
    podman("kill", "second")
    assert podman.says("wait", "--condition=exited", "second") == "137"
    podman("rm", "second")
    assert "no such container" in podman.refuses("rm", "second", status=1)
    podman("rm", "--force", "second")
    happened = podman.lines("events", "--stream=false", "--since=10m", "--filter", f"container={identity}")
    words = [line.partition(" container ")[2].partition(" ")[0] for line in happened]
    assert words[:2] == ["create", "start"]
    assert {"pause", "unpause", "rename", "kill", "died", "restart"} <= set(words)
    assert words[-1] == "remove"


def test_removal_of_what_runs(podman: Podman) -> None:
    """With force it goes at once; told a time, it is asked to end first."""
    script = "trap 'echo ended >/v/word; exit' TERM; echo ready; while :; do sleep 0.05; done"
    podman("run", "-d", "--name", "mild", "-v", "mild:/v", IMAGE, "sh", "-c", script)
    wait_until(partial(has_said, podman, "mild", 1), what="its first line")
    podman("rm", "--force", "--time=10", "mild")
    assert podman.says("run", "--rm", "-v", "mild:/v", IMAGE, "cat", "/v/word") == "ended"
    podman("run", "-d", "--name", "rough", IMAGE, *FOREVER)
    podman("rm", "--force", "rough")
    podman("volume", "rm", "mild")


# Files and images


def test_copies(podman: Podman, tmp_path: Path) -> None:
    """Files and directories both ways, under other names; what changed; all of it as an archive."""
    podman("run", "-d", "--name", "keeps", IMAGE, *FOREVER)
    (tmp_path / "one").write_text("1\n")
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "two").write_text("2\n")
    podman("cp", f"{tmp_path}/one", "keeps:/tmp/")
    podman("cp", f"{tmp_path}/one", "keeps:/tmp/other")
    podman("cp", f"{tmp_path}/many", "keeps:/tmp/more")
    assert podman.says("exec", "keeps", "cat", "/tmp/one", "/tmp/other", "/tmp/more/two") == "1\n1\n2"
    podman("cp", "keeps:/tmp/more", f"{tmp_path}/back")
    assert (tmp_path / "back" / "two").read_text() == "2\n"
    assert "could not be found" in podman.refuses("cp", "keeps:/nowhere", str(tmp_path), status=125)
    assert "A /tmp/other" in podman.lines("diff", "keeps")
    podman("export", "--output", f"{tmp_path}/all.tar", "keeps")
    with tarfile.open(tmp_path / "all.tar") as archive:
        assert "tmp/more/two" in archive.getnames()


def test_images(podman: Podman, tmp_path: Path) -> None:
    """Made of a container, named, saved, removed, loaded, imported."""
    podman("run", "--name", "maker", IMAGE, "touch", "/made")
    made = podman.says("commit", "--quiet", "--change", "CMD=ls /made", "maker", "localhost/made:1")
    assert podman.says("run", "--rm", "made:1") == "/made"
    assert podman.says("image", "inspect", "--format", "{{.Id}}", "made:1") == made
    podman("tag", "made:1", "localhost/again:2")
    assert "localhost/again:2" in podman.lines("images", "--format", "{{.Repository}}:{{.Tag}}")
    podman("untag", "localhost/again:2", "localhost/again:2")
    podman("image", "exists", "again:2", status=1)
    assert len(podman.lines("history", "-q", "made:1")) == 2
    podman("save", "--output", f"{tmp_path}/made.tar", "made:1")
    podman("rm", "maker")
    assert f"Deleted: {made}" in podman.lines("rmi", "made:1")
    podman("image", "exists", "made:1", status=1)
    assert "image not known" in podman.refuses("rmi", "made:1", status=1)
    assert podman.says("load", "--input", f"{tmp_path}/made.tar") == "Loaded image: localhost/made:1"
    podman("create", "--name", "plain", IMAGE)
    podman("export", "--output", f"{tmp_path}/root.tar", "plain")
    podman("import", "--change", "CMD=echo imported", f"{tmp_path}/root.tar", "localhost/root:1")
    assert podman.says("run", "--rm", "root:1") == "imported"
    podman("rmi", "root:1", "made:1")
    assert "in use" in podman.refuses("rmi", IMAGE, status=2)


def test_volumes(podman: Podman) -> None:
    """Made, listed, described, in use, removed."""
    assert podman.says("volume", "create", "--label=a=b", "things") == "things"
    assert "already exists" in podman.refuses("volume", "create", "things", status=125)
    podman("run", "--rm", "-v", "things:/t", IMAGE, "sh", "-c", "echo kept >/t/word")
    podman("create", "--name", "user", "-v", "things:/t:ro", "-v", "/nameless", IMAGE, "cat", "/t/word")
    assert podman.says("start", "--attach", "user") == "kept"
    assert podman.lines("volume", "ls", "-q", "--filter=label=a=b") == ["things"]
    assert json.loads(podman.says("volume", "inspect", "things"))[0]["Labels"] == {"a": "b"}
    assert "being used" in podman.refuses("volume", "rm", "things", status=2)
    podman("rm", "--volumes", "user")
    podman("volume", "exists", "things")
    assert podman.lines("volume", "prune", "--force") == ["things"]
    assert "no such volume" in podman.refuses("volume", "rm", "things", status=1)


# The engine


def test_the_engine(podman: Podman) -> None:
    """What it is, what it has, and what takes space."""
    told = json.loads(podman.says("version", "--format", "json"))
    assert told["Server"]["APIVersion"].startswith("5.")
    assert podman.says("info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OS}}") == "pierhead linux"
    made = podman.says("create", "--name", "there", IMAGE)
    lines = {line.split()[0]: line.split()[1] for line in podman.lines("system", "df")[1:]}
    assert (lines["Images"], lines["Containers"]) == ("1", "1")
    assert podman.lines("container", "prune", "--force") == [made]
    assert "Total reclaimed space" in podman.says("system", "prune", "--force")
    assert podman.says("ps", "--all", "--quiet") == ""


def test_networks(podman: Podman) -> None:
    """The default one under either name; further ones are refused."""
    assert podman.lines("network", "ls", "--format", "{{.Name}}") == ["bridge"]
    known = json.loads(podman.says("network", "inspect", "podman"))[0]
    assert known["subnets"][0]["gateway"] == "172.17.0.1"
    podman("network", "exists", "podman")
    assert "not supported" in podman.refuses("network", "create", "own", status=125)
    for mode in ("none", "host", "podman"):
        podman("run", "--rm", f"--network={mode}", IMAGE, "true")


def test_what_there_is_not(podman: Podman) -> None:
    """Pods, secrets, Kubernetes files, searches: a sentence for each, and empty lists."""
    assert podman.lines("pod", "ps", "-q") == []
    assert podman.lines("secret", "ls", "-q") == []
    for words in (("pod", "create"), ("generate", "kube", "any"), ("search", "any"), ("init", "any")):
        assert podman.refuses(*words, status=125).startswith("Error: ")
    assert "no such object" in podman.refuses("inspect", "away", status=125)


def test_images_from_and_to_a_registry(tmp_path: Path) -> None:
    """Pushed under another name, pulled again, by policy; a failure is told."""
    add_image(tmp_path)
    with registry(tmp_path / "registry") as store, daemon(tmp_path, "--bridge", "none") as it:
        podman = Podman(f"unix://{it.socket_path}", tmp_path)
        name = f"127.0.0.1:{store.port}/team/box:3"
        podman("push", "--tls-verify=false", IMAGE, name)
        podman("image", "exists", name, status=1)
        identity = podman.says("pull", "--tls-verify=false", "--quiet", name)
        assert podman.says("image", "inspect", "--format", "{{.Id}}", name) == identity
        done = podman("run", "--rm", "--network=none", "--pull=missing", name, "echo", "pulled")
        assert done.stdout == b"pulled\n"
        away = f"127.0.0.1:{store.port}/team/away:1"
        assert "away" in podman.refuses("pull", "--tls-verify=false", away, status=125)
        assert podman.says("run", "--rm", "--network=none", IMAGE, "echo", "none") == "none"

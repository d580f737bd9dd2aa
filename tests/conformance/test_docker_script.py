"""A long day with docker's command line and a ``pierd`` of one's own, network and all."""

from __future__ import annotations

import io
import json
import tarfile
import time
from functools import partial
from typing import TYPE_CHECKING

from tests.support.peers import wait_until
from tests.support.pierds import IMAGE, fetch
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.daemons import Daemon
    from tests.support.docker_cli import Docker

pytestmark = requires("root", "docker", "busybox", "ip", "curl")

NONE = "--network=none"
FOREVER = ("sleep", "1000")


def healthy(docker: Docker, name: str, wanted: str) -> bool:
    """Whether the container's health is so."""
    return docker.says("inspect", "--format", "{{.State.Health.Status}}", name) == wanted


def has_said(docker: Docker, name: str, count: int) -> bool:
    """Whether the container has written so many lines."""
    return len(docker.lines("logs", name)) == count


# Running


def test_exit_codes(docker: Docker) -> None:
    """Those of the command, and docker's own for what could not begin; ``--rm`` leaves nothing of any."""
    docker("run", "--rm", NONE, IMAGE, "sh", "-c", "exit 42", status=42)
    docker("run", "--rm", NONE, IMAGE, "sh", "-c", "sh -c 'kill -9 $$'; exit $?", status=137)
    assert "nosuch" in docker.refuses("run", "--rm", NONE, IMAGE, "nosuch", status=127)
    assert "permission denied" in docker.refuses("run", "--rm", NONE, IMAGE, "/etc/passwd", status=126)
    assert "network away not found" in docker.refuses(
        "run", "--rm", "--network=away", IMAGE, "true", status=125
    )
    assert "unknown flag" in docker.refuses("run", "--bogus", IMAGE, status=125)
    assert docker.says("ps", "--all", "--quiet") == ""


def test_a_terminal(docker: Docker) -> None:
    """The container has one, of the client's size; it is left with keys, and taken up again."""
    with docker.typing("run", "-it", "--name", "shell", NONE, IMAGE, "sh") as it:
        it.see(b"# ")
        it.type(b"tty; echo $((6 * 7))\n")
        it.see(b"/dev/pts/0")
        it.see(b"42")
        it.type(b"\x10\x11")
        assert it.end() == 0
    assert docker.says("inspect", "--format", "{{.State.Status}}", "shell") == "running"
    with docker.typing("attach", "--detach-keys", "ctrl-a,d", "shell") as it:
        it.type(b"echo again $((2 * 4))\n")
        it.see(b"again 8")
        it.type(b"\x01d")
        it.end()
    assert docker.says("exec", "shell", "echo", "alive") == "alive"
    with docker.typing("exec", "-it", "shell", "sh") as it:
        it.see(b"# ")
        it.type(b"tty; exit 9\n")
        it.see(b"/dev/pts/1")
        assert it.end() == 9
    with docker.typing("attach", "shell") as it:
        it.type(b"exit 5\n")
        assert it.end() == 5


def test_input(docker: Docker) -> None:
    """It ends with the client that ran the container, and not with one that looked in."""
    text = b"x" * 200_000
    assert docker.says("run", "--rm", "-i", NONE, IMAGE, "wc", "-c", feed=text) == "200000"
    docker("run", "-d", "-i", "--name", "reader", NONE, IMAGE, "cat")
    for count, words in enumerate((b"one\n", b"two\n"), 1):
        process = docker.begin("attach", "reader", feed=words)
        wait_until(partial(has_said, docker, "reader", count), what="an echo")
        process.kill()
        process.wait()
    assert docker.says("inspect", "--format", "{{.State.Status}}", "reader") == "running"
    docker("create", "--name", "fed", "-i", NONE, IMAGE, "cat")
    assert docker.says("start", "-a", "-i", "fed", feed=b"through") == "through"


def test_exec(docker: Docker) -> None:
    """User, directory, environment, input, errors and exit codes are the further process's own."""
    docker("run", "--detach", "--name", "box", NONE, IMAGE, *FOREVER)
    script = "id -u; id -g; pwd; echo $A"
    words = ("exec", "-e", "A=b", "-w", "/tmp", "-u", "1000:1000", "box", "sh", "-c", script)
    assert docker.lines(*words) == ["1000", "1000", "/tmp", "b"]
    assert docker.says("exec", "-u", "app", "box", "id", "-un") == "app"
    done = docker("exec", "-u", "nobody-known", "box", "id", status=126)
    assert b"unable to find user nobody-known" in done.stderr + done.stdout
    for _ in range(5):
        docker("exec", "box", "sh", "-c", "exit 3", status=3)
    docker("exec", "box", "nosuch", status=127)
    docker("exec", "--detach", "box", "touch", "/made")
    wait_until(lambda: "/made" in docker.says("diff", "box"), what="the detached process's file")
    assert docker.says("exec", "-i", "box", "wc", "-c", feed=b"x" * 200_000) == "200000"
    assert "is not running" in _stopped(docker).refuses("exec", "box", "true")


def _stopped(docker: Docker) -> Docker:
    docker("stop", "--time", "0", "box")
    return docker


def test_logs(docker: Docker) -> None:
    """Streams apart, the last lines, times, since when, and on until the end."""
    script = "echo one; echo two >&2; sleep 0.2; echo three"
    docker("run", "--name", "talker", NONE, IMAGE, "sh", "-c", script)
    done = docker("logs", "talker")
    assert (done.stdout, done.stderr) == (b"one\nthree\n", b"two\n")
    assert docker.says("logs", "--tail", "1", "talker") == "three"
    stamp, _, text = docker.says("logs", "--timestamps", "--tail", "1", "talker").partition(" ")
    assert (text, stamp[-1]) == ("three", "Z")
    assert docker.says("logs", "--since", stamp, "talker") == "three"
    assert docker.says("logs", "--until", "1h", "talker") == ""
    docker("start", "talker")
    done = docker("logs", "--follow", "talker")
    assert done.stdout == b"one\nthree\n" * 2
    quiet = docker.says("run", "--detach", "--log-driver", "none", NONE, IMAGE, "echo", "x")
    assert "does not support reading" in docker.refuses("logs", quiet)


def test_ps(docker: Docker) -> None:
    """Every filter, and templates."""
    docker("run", "-d", "--name", "here", "--label", "a=b", "-p", "18080:80", "-v", "vol:/v", IMAGE, *FOREVER)
    docker("run", "--name", "gone", NONE, IMAGE, "sh", "-c", "exit 7", status=7)
    docker("create", "--name", "fresh", NONE, IMAGE)
    for words in (
        "status=running",
        "name=her",
        "label=a",
        "label=a=b",
        "publish=18080",
        "volume=vol",
        "network=bridge",
        "expose=80",
    ):
        assert docker.says("ps", "-a", "--format", "{{.Names}}", "--filter", words) == "here", words
    assert docker.says("ps", "-a", "--format", "{{.Names}}", "-f", "exited=7") == "gone"
    assert docker.says("ps", "-a", "--format", "{{.Names}}", "-f", "before=gone") == "here"
    assert docker.says("ps", "-a", "--format", "{{.Names}}", "-f", "since=gone") == "fresh"
    assert set(docker.lines("ps", "-a", "--format", "{{.Names}}", "-f", f"ancestor={IMAGE}")) == {
        "here",
        "gone",
        "fresh",
    }
    assert docker.says("ps", "--last", "1", "--format", "{{.Names}} {{.Status}}") == "fresh Created"
    row = docker.says(
        "ps", "--format", "{{.Image}}|{{.Command}}|{{.Ports}}|{{.Mounts}}|{{.Networks}}|{{.State}}"
    )
    assert row == f'{IMAGE}|"sleep 1000"|0.0.0.0:18080->80/tcp|vol|bridge|running'
    assert "(virtual " in docker.says("ps", "--size", "--format", "{{.Size}}")
    assert "invalid filter 'bogus'" in docker.refuses("ps", "--filter", "bogus=1")


def test_states(docker: Docker) -> None:
    """Pause, restart, kill, stop, rename, update, wait, each with what docker says of the wrong moment."""
    docker("run", "--detach", "--name", "box", NONE, IMAGE, *FOREVER)
    docker("pause", "box")
    assert docker.says("ps", "--format", "{{.Status}}").endswith("(Paused)")
    assert "is paused, unpause the container before exec" in docker.refuses("exec", "box", "true")
    docker("unpause", "box")
    assert "is not paused" in docker.refuses("unpause", "box")
    docker("restart", "--time", "0", "box")
    docker("rename", "box", "other")
    docker("update", "--memory", "64m", "--memory-swap", "128m", "--cpus", "0.5", "--restart", "no", "other")
    shown = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"
    assert docker.says("inspect", "--format", shown, "other") == "67108864 500000000"
    assert "invalid signal: BOGUS" in docker.refuses("kill", "--signal", "BOGUS", "other").replace(
        "Invalid", "invalid"
    )
    assert "container is running" in docker.refuses("rm", "other")
    docker("stop", "--time", "0", "other")
    assert docker.says("wait", "other") == "137"
    assert "is not running" in docker.refuses("kill", "other")
    assert docker.says("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "other").startswith(
        "other 0"
    )
    docker("rm", "other")


def test_restart_policies(docker: Docker) -> None:
    """A container that fails is started again so often, and another until somebody stops it."""
    docker(
        "run", "--detach", "--name", "tries", "--restart", "on-failure:2", NONE, IMAGE, "sh", "-c", "exit 1"
    )
    shown = "{{.RestartCount}} {{.State.Status}}"
    wait_until(
        lambda: docker.says("inspect", "--format", shown, "tries") == "2 exited", what="two more starts"
    )
    docker("run", "--detach", "--name", "always", "--restart", "always", NONE, IMAGE, "true")
    wait_until(
        lambda: docker.says("inspect", "--format", "{{.RestartCount}}", "always") != "0", what="a restart"
    )
    docker("stop", "always")
    assert docker.says("inspect", "--format", "{{.State.Status}}", "always") == "exited"


def test_health(docker: Docker) -> None:
    """Starting, unhealthy, healthy; and filtered by it."""
    check = ("--health-cmd", "test -e /well", "--health-interval", "200ms", "--health-retries", "1")
    docker("run", "--detach", "--name", "patient", *check, NONE, IMAGE, *FOREVER)
    wait_until(lambda: healthy(docker, "patient", "unhealthy"), what="an illness", timeout_s=30)
    docker("exec", "patient", "touch", "/well")
    wait_until(lambda: healthy(docker, "patient", "healthy"), what="a recovery", timeout_s=30)
    assert "(healthy)" in docker.says("ps", "--filter", "health=healthy", "--format", "{{.Status}}")


# Files


def test_cp(docker: Docker, tmp_path: Path) -> None:
    """Files and directories, both ways, under other names, and as archives."""
    docker("run", "--detach", "--name", "box", NONE, IMAGE, *FOREVER)
    (tmp_path / "one").write_text("first")
    (tmp_path / "many/deep").mkdir(parents=True)
    (tmp_path / "many/deep/two").write_text("second")
    docker("cp", f"{tmp_path}/one", "box:/tmp/")
    docker("cp", f"{tmp_path}/one", "box:/tmp/renamed")
    docker("cp", f"{tmp_path}/many", "box:/tmp")
    docker("cp", f"{tmp_path}/many/.", "box:/home")
    found = docker.lines(
        "exec", "box", "cat", "/tmp/one", "/tmp/renamed", "/tmp/many/deep/two", "/home/deep/two"
    )
    assert "".join(found) == "firstfirstsecondsecond"
    docker("cp", "box:/tmp/many", f"{tmp_path}/back")
    assert (tmp_path / "back/deep/two").read_text() == "second"
    with tarfile.open(fileobj=io.BytesIO(docker("cp", "box:/tmp/one", "-").stdout)) as tar:
        assert tar.getnames() == ["one"]
    assert "nosuch" in docker.refuses("cp", "box:/nosuch", str(tmp_path))
    assert "cannot copy directory" in docker.refuses("cp", f"{tmp_path}/many", "box:/tmp/one")
    docker("exec", "box", "rm", "/etc/passwd")
    found = docker.lines("diff", "box")
    assert {"C /etc", "D /etc/passwd", "A /tmp/many/deep/two", "A /home/deep"} <= set(found)
    assert "A /etc/hosts" not in found


def test_images(docker: Docker, tmp_path: Path) -> None:
    """Commit, history, tag, save, load, export, import, rmi."""
    docker("run", "--name", "author", NONE, IMAGE, "sh", "-c", "echo words > /book")
    changes = ("--change", 'CMD ["cat","/book"]', "--change", "ENV Q=1", "--change", "LABEL l=m")
    docker("commit", "--message", "chapter", "--author", "me", *changes, "author", "work:1")
    assert docker.says("run", "--rm", NONE, "work:1") == "words"
    shown = "{{.Config.Env}} {{.Config.Labels}} {{.Author}} {{.Comment}}"
    assert docker.says("image", "inspect", "--format", shown, "work:1").endswith("Q=1] map[l:m] me chapter")
    assert docker.lines("history", "--format", "{{.Comment}}", "work:1")[0] == "chapter"
    docker("tag", "work:1", "copy:2")
    assert set(docker.lines("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "label=l=m")) == {
        "work:1",
        "copy:2",
    }
    docker("save", "--output", f"{tmp_path}/saved.tar", "work:1", "copy:2")
    assert docker.lines("rmi", "work:1") == ["Untagged: work:1"]
    assert docker.lines("rmi", "copy:2")[1].startswith("Deleted: sha256:")
    loaded = docker.lines("load", "--input", f"{tmp_path}/saved.tar")
    assert sorted(loaded) == ["Loaded image: copy:2", "Loaded image: work:1"]
    docker("export", "--output", f"{tmp_path}/root.tar", "author")
    docker("import", "--change", 'CMD ["cat","/book"]', f"{tmp_path}/root.tar", "flat:1")
    assert docker.says("run", "--rm", NONE, "flat:1") == "words"
    docker("rmi", "work:1", "copy:2", "flat:1")
    assert "(must force)" in docker.refuses("rmi", IMAGE)
    assert "No such image: nosuch" in docker.refuses("rmi", "nosuch")


def test_volumes(docker: Docker, tmp_path: Path) -> None:
    """Named, without a name, in memory, of the host, read-only, and those of another container."""
    docker("volume", "create", "--label", "k=v", "vol")
    assert docker.says("volume", "ls", "--quiet", "--filter", "label=k=v") == "vol"
    assert json.loads(docker.says("volume", "inspect", "vol"))[0]["Labels"] == {"k": "v"}
    docker("run", "--rm", NONE, "-v", "vol:/data", IMAGE, "sh", "-c", "echo kept > /data/x")
    script = "cat /data/x && touch /data/y"
    done = docker("run", "--rm", NONE, "-v", "vol:/data:ro", IMAGE, "sh", "-c", script, status=1)
    assert done.stdout == b"kept\n"
    assert b"Read-only file system" in done.stderr
    assert docker.says("run", "--rm", NONE, "-v", "filled:/etc", IMAGE, "ls", "/etc/passwd") == "/etc/passwd"
    (tmp_path / "file").write_text("of the host")
    mounts = (
        "-v",
        "vol:/data",
        "-v",
        "/nameless",
        "-v",
        f"{tmp_path}:/host:ro",
        "--tmpfs",
        "/scratch:size=1m",
    )
    single = ("--mount", f"type=bind,src={tmp_path}/file,dst=/f")
    docker("run", "--detach", "--name", "holder", NONE, *mounts, *single, IMAGE, *FOREVER)
    assert docker.says("exec", "holder", "cat", "/f") == "of the host"
    assert "size=1024k" in docker.says("exec", "holder", "grep", " /scratch ", "/proc/mounts")
    shared = docker.says("run", "--rm", NONE, "--volumes-from", "holder", IMAGE, "ls", "/data", "/host")
    assert {"x", "file"} <= set(shared.split())
    docker("run", "--rm", NONE, "--volumes-from", "holder:ro", IMAGE, "touch", "/data/no", status=1)
    assert "volume is in use" in docker.refuses("volume", "rm", "vol")
    assert "does not exist" in docker.refuses(
        "run", NONE, "--mount", f"type=bind,src={tmp_path}/away,dst=/x", IMAGE, status=125
    )
    docker("run", "--rm", NONE, "--read-only", "--tmpfs", "/t", IMAGE, "touch", "/t/x")
    docker("run", "--rm", NONE, "--read-only", IMAGE, "touch", "/x", status=1)
    docker("rm", "--force", "--volumes", "holder")
    assert set(docker.lines("volume", "ls", "--quiet")) == {"vol", "filled"}
    assert docker.says("volume", "prune", "--force").endswith("B")


# Surroundings


def test_published_ports(docker: Docker, running: Daemon) -> None:
    """They are reached from the machine's side, said in every way, and free again afterwards."""
    script = "mkdir /www; echo page > /www/index.html; exec httpd -f -p 80 -h /www"
    docker(
        "run", "-d", "--name", "web", "-p", "18081:80", "-p", "127.0.0.1::81/udp", IMAGE, "sh", "-c", script
    )
    wait_until(lambda: "httpd" in docker.says("top", "web"), what="a server")
    assert fetch(running, 18081) == "page\n"
    assert docker.says("port", "web", "80/tcp").splitlines()[0] == "0.0.0.0:18081"
    assert "81/udp -> 127.0.0.1:" in docker.says("port", "web")
    taken = docker.refuses("run", "--rm", "-p", "18081:80", IMAGE, "true", status=125)
    assert "port is already allocated" in taken
    address = docker.says("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "web")
    assert docker.says("run", "--rm", IMAGE, "wget", "-q", "-O", "-", f"http://{address}/") == "page"
    joined = (
        "run",
        "--rm",
        "--network",
        "container:web",
        IMAGE,
        "wget",
        "-q",
        "-O",
        "-",
        "http://127.0.0.1/",
    )
    assert docker.says(*joined) == "page"
    docker("rm", "--force", "web")
    docker("run", "--rm", "-p", "18081:80", IMAGE, "true")
    assert [each.split()[1] for each in docker.lines("network", "ls")[1:]] == ["bridge", "host", "none"]


def test_namespaces_of_others(docker: Docker) -> None:
    """Processes, memory and network of another container are shared; the host's too."""
    docker(
        "run",
        "-d",
        "--name",
        "first",
        NONE,
        "--ipc",
        "shareable",
        IMAGE,
        "sh",
        "-c",
        "echo x > /dev/shm/f; sleep 99",
    )
    look = ("exec", "first", "sh", "-c", "cat /dev/shm/f || :")
    wait_until(lambda: docker.says(*look) == "x", what="a file in shared memory")
    assert docker.says("run", "--rm", NONE, "--ipc", "container:first", IMAGE, "cat", "/dev/shm/f") == "x"
    assert "sleep 99" in docker.says("run", "--rm", NONE, "--pid", "container:first", IMAGE, "ps")
    assert "pier0" in docker.says("run", "--rm", "--network=host", IMAGE, "ip", "-o", "link")
    assert "No such container: fresh" in docker.refuses(
        "run", "--rm", NONE, "--pid", "container:fresh", IMAGE, status=125
    )
    docker("create", "--name", "fresh", NONE, IMAGE)
    assert "fresh" in docker.refuses("run", "--rm", NONE, "--pid", "container:fresh", IMAGE, status=125)


def test_limits_and_rights(docker: Docker) -> None:
    """What was asked for is what the process finds."""
    words = (
        "-h",
        "host1",
        "--dns",
        "9.9.9.9",
        "--add-host",
        "h:1.2.3.4",
        "-u",
        "app",
        "--group-add",
        "audio",
    )
    rights = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--ulimit", "nofile=100:200")
    limits = ("--memory", "64m", "--pids-limit", "50", "--cpus", "0.5", "--shm-size", "8m")
    script = "hostname; id -un; ulimit -n; cat /proc/self/status /etc/resolv.conf /etc/hosts"
    found = docker.says("run", "--rm", *words, *rights, *limits, IMAGE, "sh", "-c", script)
    assert found.splitlines()[:3] == ["host1", "app", "100"]
    for text in ("CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "nameserver 9.9.9.9", "1.2.3.4\th"):
        assert text in found
    docker("run", "--name", "greedy", "--memory", "8m", NONE, IMAGE, "tail", "/dev/zero", status=137)
    assert docker.says("inspect", "--format", "{{.State.OOMKilled}}", "greedy") == "true"


def test_the_whole(docker: Docker) -> None:
    """Events in their order, figures, what uses the disk, and prunes."""
    since = f"{time.time():.9f}"
    docker("run", "--detach", "--name", "box", "--label", "of=test", IMAGE, *FOREVER)
    assert docker.says("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "box") == "box 1"
    assert docker.lines("top", "box", "-o", "pid,args")[1].endswith("sleep 1000")
    docker("kill", "box")
    docker("wait", "box")
    docker("rm", "box")
    words = ("--since", since, "--until", f"{time.time():.9f}", "--filter", "type=container")
    found = docker.lines("events", *words, "--filter", "label=of=test", "--format", "{{.Action}}")
    assert [each for each in found if each != "attach"] == [
        "create",
        "start",
        "top",
        "kill",
        "die",
        "destroy",
    ]
    docker("run", NONE, "--name", "done", IMAGE, "true")
    assert docker.lines("system", "df", "--format", "{{.Type}} {{.TotalCount}}")[:2] == [
        "Images 1",
        "Containers 1",
    ]
    assert docker.says("info", "--format", "{{.Containers}} {{.ContainersStopped}}") == "1 1"
    assert "Deleted Containers" in docker.says("system", "prune", "--force")
    assert docker.says("ps", "--all", "--quiet") == ""
    assert docker.says("images", "--quiet") != ""

"""What ``pierd`` can be told, by flags and by files."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.cli.daemon import FLAGS, main
from pierhead.cli.daemon_given import given_by_file, given_by_flags, merge, parse_file
from pierhead.cli.daemon_log import LogLine
from pierhead.cli.daemon_options import OPTIONS, PASSED_OVER
from pierhead.cli.daemon_settings import (
    DaemonSettings,
    Roots,
    default_roots,
    make_settings,
    parse_size,
    settle_rootless,
)
from pierhead.cli.flags import parse
from pierhead.engine.rootlesswords import Rootless, UserNetwork
from pierhead.engine.settings import BridgeSettings, RuntimeProgram
from pierhead.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from pathlib import Path

ROOTS = Roots(data_root="/d", exec_root="/e", config_file="/c")


def by_flags(*words: str) -> DaemonSettings:
    """The settings that a command line means."""
    return make_settings(given_by_flags(parse(FLAGS, words, literal=False)[0]), ROOTS)


def by_file(**document: Any) -> DaemonSettings:
    """The settings that a file means; ``_`` is written for ``-``."""
    named = {name.replace("_", "-"): value for name, value in document.items()}
    return make_settings(given_by_file(named, "pierd.toml")[0], ROOTS)


def test_nothing_is_told() -> None:
    """Everything has a default; the socket is in the daemon's own directory."""
    settings = by_flags()
    assert (settings.engine.data_root, settings.engine.exec_root) == ("/d", "/e")
    assert [address.text for address in settings.addresses] == ["unix:///e/pierd.sock"]
    assert settings.pidfile == "/e/pierd.pid"
    assert settings.engine.bridge == BridgeSettings()
    assert settings.tls is None


def test_both_ways_say_the_same() -> None:
    """A flag and its key; lists have the plural, pairs are tables."""
    flags = by_flags(
        *("-H", "unix:///a", "-H", "tcp://:1", "--exec-root", "/x", "--debug", "--label", "a=b"),
        *("--log-opt", "max-size=1m", "--add-runtime", "crun=/usr/bin/crun", "--default-runtime=crun"),
        *("--default-ulimit", "nofile=10:20", "--dns", "10.0.0.1", "--insecure-registry", "r:5000"),
        *("--bip", "192.168.5.1/24", "--mtu", "1400", "--ip-masq=false", "--storage-driver", "overlay2"),
    )
    file = by_file(
        hosts=["unix:///a", "tcp://:1"],
        exec_root="/x",
        debug=True,
        labels=["a=b"],
        log_opts={"max-size": "1m"},
        runtimes={"crun": {"path": "/usr/bin/crun"}},
        default_runtime="crun",
        default_ulimits={"nofile": {"Name": "nofile", "Soft": 10, "Hard": 20}},
        dns=["10.0.0.1"],
        insecure_registries=["r:5000"],
        bip="192.168.5.1/24",
        mtu=1400,
        ip_masq=False,
        storage_driver="overlay2",
    )
    assert flags == file
    assert flags.engine.runtimes == {"crun": RuntimeProgram(path="/usr/bin/crun")}
    assert flags.engine.ulimits == (("nofile", 10, 20),)
    assert flags.engine.storage == "overlay"
    bridge = flags.engine.bridge
    assert bridge is not None
    assert (bridge.subnet, bridge.gateway, bridge.mtu) == ("192.168.5.0/24", "192.168.5.1", 1400)
    assert not bridge.masquerade
    assert flags.log_level == "debug"


def test_files_of_both_kinds() -> None:
    """TOML by its ending, else JSON; an empty file says nothing."""
    assert parse_file('debug = true\n[log-opts]\nmax-file = "3"\n', "a.toml") == {
        "debug": True,
        "log-opts": {"max-file": "3"},
    }
    assert parse_file('{"debug": true}', "daemon.json") == {"debug": True}
    assert parse_file("", "daemon.json") == {}
    for text, path in (("debug", "a.toml"), ("{", "daemon.json"), ("[]", "daemon.json")):
        with pytest.raises(InvalidInput, match=path):
            parse_file(text, path)


def test_keys_that_nobody_knows() -> None:
    """A near one is suggested; docker's that change nothing here are told apart."""
    with pytest.raises(InvalidInput, match="unknown key 'data-rot'") as caught:
        given_by_file({"data-rot": "/x"}, "pierd.toml")
    assert caught.value.hint == "did you mean data-root?"
    assert given_by_file({"live-restore": True, "debug": True}, "f") == ({"debug": True}, ("live-restore",))
    assert not PASSED_OVER & {option.key for option in OPTIONS}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("debug", 1),
        ("hosts", "unix://"),
        ("hosts", [1]),
        ("mtu", "1400"),
        ("mtu", True),
        ("data-root", []),
        ("log-opts", []),
        ("log-level", "loud"),
    ],
)
def test_values_of_another_type(key: str, value: Any) -> None:
    """File and key are named."""
    with pytest.raises(InvalidInput, match=rf"daemon\.json: {key}: expected"):
        given_by_file({key: value}, "daemon.json")


def test_whoever_says_it_twice() -> None:
    """Flag and file together are an error, as for dockerd."""
    with pytest.raises(InvalidInput, match="hosts"):
        merge({"hosts": ("a",)}, {"hosts": ("a",)}, "f")
    assert merge({"debug": True}, {"mtu": 1}, "f") == {"debug": True, "mtu": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tls",), "TLS needs both"),
        (("--tlsverify", "--tlscert=a", "--tlskey=b"), "authority"),
        (("--bip", "10.0.0.0/24"), "bip cannot be"),
        (("--ipv6",), "belong together"),
        (("--fixed-cidr-v6", "10.0.0.0/8", "--ipv6"), "fixed-cidr-v6 cannot be"),
        (("--dns", "example.com"), "dns cannot be"),
        (("--default-ulimit", "nofile=many"), "default-ulimits"),
        (("--default-ulimit", "nofile"), "--default-ulimit cannot be"),
        (("--default-ulimit", "nofile=3:2"), "default-ulimits cannot be '3:2'"),
        (("--log-driver", "parrot"), "no log driver named 'parrot'"),
        (("--log-opt", "max-size=10x"), "invalid size: '10x'"),
        (("--log-opt", "max-seize=10m"), "unknown log opt 'max-seize' for json-file log driver"),
        (("--default-runtime", "kata"), "default-runtime cannot be 'kata'"),
        (("--exec-opt", "isolation=hyperv"), "exec-opts"),
        (("--default-shm-size", "lots"), "default-shm-size"),
        (("--idle-timeout", "-1"), "idle-timeout"),
        (("-H", "http://x"), "invalid address"),
        (("--log-level", "loud"), "--log-level cannot be"),
    ],
)
def test_what_does_not_go(words: tuple[str, ...], message: str) -> None:
    """One sentence that names what is wrong."""
    with pytest.raises(InvalidInput, match=message):
        by_flags(*words)


def test_tls_and_its_port() -> None:
    """Certificates of clients are asked for by tlsverify alone."""
    files = ("--tlscert=c", "--tlskey=k", "--tlscacert=a", "-H", "tcp://0.0.0.0")
    plain, verified = by_flags("--tls", *files), by_flags("--tlsverify", *files)
    assert plain.tls is not None
    assert verified.tls is not None
    assert (plain.tls.authority, verified.tls.authority) == ("", "a")
    assert verified.addresses[0].port == 2376


def test_networks() -> None:
    """None at all, or a bridge with both kinds of addresses."""
    assert by_flags("--bridge", "none").engine.bridge is None
    bridge = by_flags("--bridge", "br7", "--ipv6", "--fixed-cidr-v6", "fd00:1::/64").engine.bridge
    assert bridge is not None
    assert (bridge.name, bridge.ipv6_subnet) == ("br7", "fd00:1::/64")


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("64m", 64 << 20), ("2G", 2 << 30), ("3kb", 3 << 10), ("5b", 5)]
)
def test_sizes(text: str, size: int) -> None:
    """Powers of 1024, as docker reads them."""
    assert parse_size(text, "x") == size


def test_places_of_users() -> None:
    """Root has the machine's, everybody else their own."""
    assert default_roots({}, 0).exec_root == "/run/pierhead"
    found = default_roots({"HOME": "/home/a", "XDG_RUNTIME_DIR": "/run/user/7"}, 7)
    assert found.data_root == "/home/a/.local/share/pierhead"
    assert found.exec_root == "/run/user/7/pierhead"
    assert found.config_file == "/home/a/.config/pierhead/pierd.toml"
    found = default_roots({"HOME": "/home/a", "XDG_DATA_HOME": "/data"}, 4000000)
    assert found.data_root == "/data/pierhead"
    assert found.exec_root == "/data/pierhead/run"  # nobody has made /run/user/4000000


def test_what_users_cannot_have() -> None:
    """A user's daemon listens where its network namespace does not matter, and makes no cgroups."""
    with pytest.raises(Unsupported, match=r"cannot listen at tcp://127\.0\.0\.1:2375"):
        make_settings({"hosts": ("tcp://127.0.0.1:2375",)}, ROOTS, 1000)
    with pytest.raises(Unsupported, match=r"cannot listen at tcp://127\.0\.0\.1:9000"):
        make_settings({"metrics-addr": "127.0.0.1:9000"}, ROOTS, 1000)
    with pytest.raises(Unsupported, match="no cgroups by systemd"):
        make_settings({"exec-opts": ("native.cgroupdriver=systemd",)}, ROOTS, 1000)
    rootless = Rootless(user_id=1000, network=UserNetwork(kind="slirp4netns"))
    inside = settle_rootless(make_settings({}, ROOTS, 1000), rootless).engine
    assert (inside.cgroup_manager, inside.dns) == ("disabled", ("10.0.2.3",))
    named = settle_rootless(make_settings({"dns": ("192.0.2.1",)}, ROOTS, 1000), rootless).engine
    assert named.dns == ("192.0.2.1",)


def test_lines_of_the_log() -> None:
    """One line each, in the form of dockerd's."""
    record = logging.LogRecord("a", logging.WARNING, "", 0, 'say "%s"\n', ("hi",), None)
    record.created = 1.5
    assert LogLine(json=False).format(record) == (
        'time="1970-01-01T00:00:01.500000000Z" level=warning msg="say \\"hi\\"\\n"'
    )
    assert json.loads(LogLine(json=True).format(record)) == {
        "level": "warning",
        "msg": 'say "hi"\n',
        "time": "1970-01-01T00:00:01.500000000Z",
    }


def test_the_program(capfd: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    """Help has every flag; a mistyped one is suggested; a configuration can be tried out."""
    assert main(["--help"]) == 0
    text = capfd.readouterr().out
    assert {flag.name for flag in FLAGS} <= set(re.findall(r"--([a-z0-9-]+)", text))
    assert main(["--version"]) == 0
    assert capfd.readouterr().out.startswith("pierd version ")
    assert main(["--dta-root", "x"]) == 1
    assert "did you mean --data-root?" in capfd.readouterr().err
    assert main(["serve"]) == 1
    assert "does not take 'serve'" in capfd.readouterr().err
    path = tmp_path / "daemon.json"
    path.write_text('{"live-restore": true, "mtu": 1400}')
    assert main(["--config-file", str(path), "--validate"]) == 0
    found = capfd.readouterr()
    assert found.out == "configuration OK\n"
    assert "live-restore changes nothing" in found.err
    assert main(["--config-file", str(path), "--validate", "--mtu", "1500"]) == 1
    assert "given as a flag and in" in capfd.readouterr().err
    assert main(["--config-file", str(tmp_path / "missing.toml")]) == 1
    assert "missing.toml" in capfd.readouterr().err


def test_a_file_that_means_what_cannot_be(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It is named, unless it is the flags that are wrong; so is one that is no text."""
    path = tmp_path / "pierd.toml"
    path.write_text('bip = "10.0.0.0/24"\n')
    assert main(("--config-file", str(path), "--validate")) == 1
    assert capfd.readouterr().err.startswith(f"pierd: {path}: bip cannot be '10.0.0.0/24'\nhint: ")
    path.write_text("mtu = 1400\n")
    assert main(("--config-file", str(path), "--validate", "--bip", "x")) == 1
    assert capfd.readouterr().err.startswith("pierd: bip cannot be 'x'\n")
    path.write_text('[runtimes.crun]\npth = "/usr/bin/crun"\n')
    assert main(("--config-file", str(path), "--validate")) == 1
    assert f"pierd: {path}: runtimes: crun has no path\n" in capfd.readouterr().err
    path.write_bytes(b"\xff")
    assert main(("--config-file", str(path), "--validate")) == 1
    assert capfd.readouterr().err == f"pierd: {path} is not UTF-8\n"
    assert main(("--config-file", str(tmp_path), "--validate")) == 1
    assert capfd.readouterr().err == f"pierd: cannot read {tmp_path}: is a directory\n"

"""Where an ordinary user's engine works: namespaces with a keeper, which outlive it as containers do.

    EXEC_ROOT/rootless/
      lock            held by whoever makes the namespaces, enters or ends them
      keeper.json     the keeper's number, when it began, and its network
      resolv.conf     as everybody inside sees the machine's
      slirp.sock      of slirp4netns;  slirp4netns.log  what it says
      pasta.pid       of pasta;  pasta.log  what it says;  ports.pid, ports.log  the same of our forwarder
      ports.sock      of the forwarder;  sockets-PID.sock  of a pierd that opens sockets of the machine for it

    find the keeper, or make one and its network ─▶ an engine enters ─▶ … it ends ─▶ the keeper ends, if
    nobody else is in the namespaces

An engine that is killed leaves its containers, their monitors and the keeper; the next one enters again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager

from pierhead import jsontext
from pierhead.engine.etcfiles import (
    HOST_RESOLV_CONF,
    RESOLV_CONF,
    Resolver,
    format_resolver,
    read_host_resolver,
    settle_resolver,
)
from pierhead.engine.rootlesswords import Keeper, UserNetwork
from pierhead.engine.usernet import choose_network, companions, end_network, serves, start_network
from pierhead.errors import OperationFailed, Unavailable
from pierhead.linux import process, procstat
from pierhead.linux.files import read_file, replace_file
from pierhead.linux.subids import GID_FILE, UID_FILE, get_ranges
from pierhead.oci.document import decode, encode
from pierhead.oci.runtime import IDMapping
from pierhead.runtime.keeper import keep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator

_FILE = "keeper.json"
_MAPPERS = ("newuidmap", "newgidmap")
_REFUSED = (1, 28, 87)  # EPERM, ENOSPC, EUSERS: user_namespaces(7), clone(2)
_END_S = 10.0
_LEAVING_S, _LOOK_S = 0.5, 0.02


class Quarters:
    """The namespaces of one engine.

    Args:
        exec_root: the engine's.
    """

    def __init__(self, exec_root: str) -> None:
        self.directory = f"{exec_root}/rootless"
        os.makedirs(self.directory, mode=0o700, exist_ok=True)

    @contextmanager
    def entering(self, wanted: str) -> Iterator[tuple[int, UserNetwork, str]]:
        """The namespaces are there, with a network, and nobody ends them within the block.

        Yields the keeper's pid, the network, and a sentence for people or nothing.

        Where the block fails they end, if nobody is in them.

        Args:
            wanted: one of ``rootlesswords.CHOICES``.

        Raises:
            Unavailable: the user has no subordinate ids, or a program is not installed.
            OperationFailed: the kernel refuses.
        """
        with self._locked():
            try:
                yield self._ensure(wanted)
            except BaseException:
                self._end_if_empty()
                raise

    def leave(self) -> None:
        """The namespaces have ended if nobody is in them; what is on its way out gets a moment."""
        with self._locked():
            self._end_if_empty()

    def _ensure(self, wanted: str) -> tuple[int, UserNetwork, str]:
        keeper = self._find()
        if keeper is not None and wanted not in ("auto", keeper.network) and not self._occupants(keeper):
            self._end(keeper)
            keeper = None
        if keeper is None:
            network = choose_network(wanted, self.directory)
            keeper = self._make(network)
        else:
            network = choose_network(keeper.network, self.directory)
            if not serves(network, self.directory):
                start_network(network, keeper.pid, self.directory)
        said = ""
        if wanted not in ("auto", keeper.network):
            said = f"the network stays {keeper.network} while containers run"
        return keeper.pid, network, said

    def _end_if_empty(self) -> None:
        keeper = self._find()
        if keeper is None:
            return
        deadline_s = time.monotonic() + _LEAVING_S
        while self._occupants(keeper):
            if time.monotonic() > deadline_s:
                return
            time.sleep(_LOOK_S)
        self._end(keeper)

    def _occupants(self, keeper: Keeper) -> tuple[int, ...]:
        return occupants(keeper.pid, companions(self.directory))

    def cover_resolver(self, keeper_pid: int, network: UserNetwork) -> tuple[str, str]:
        """The file that names the network's server, and the machine's own that it has to cover inside, where
        a server at the machine's loopback does not answer; empty where it does already, or there is none.
        """
        target = os.path.realpath(HOST_RESOLV_CONF)
        if not network.dns or not os.path.exists(target):
            return "", ""
        settled = settle_resolver(Resolver(servers=network.dns), read_host_resolver(loopback=True))
        text = format_resolver(settled).encode()
        path = f"{self.directory}/{RESOLV_CONF}"
        with open(path, "wb") as file:
            file.write(text)
        try:
            covered = read_file(f"/proc/{keeper_pid}/root{target}") == text
        except OSError:
            covered = False
        return ("", "") if covered else (path, target)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(f"{self.directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _find(self) -> Keeper | None:
        """The keeper that lives."""
        path = f"{self.directory}/{_FILE}"
        try:
            found = decode(Keeper, jsontext.parse(read_file(path), name=path), unknown=[])
        except FileNotFoundError:
            return None
        return found if procstat.observe(found.pid) == (found.start_time, False) else None

    def _make(self, network: UserNetwork) -> Keeper:
        uid_mappings, gid_mappings = plan_mappings(os.getuid(), os.getgid())
        for name in _MAPPERS:
            if not shutil.which(name):
                raise Unavailable(
                    f"{name} is not installed", code="no-id-mapper", hint="as root: apt install uidmap"
                )
        listening_fd, held_fd = os.pipe2(os.O_CLOEXEC)
        try:
            pid, pidfd = keep(uid_mappings, gid_mappings, held_fd)
        except OperationFailed as error:
            if error.errno in _REFUSED and not error.hint:
                error.hint = (
                    "users may make no user namespaces: see sysctl user.max_user_namespaces, AppArmor"
                )
            raise
        finally:
            os.close(listening_fd)
            os.close(held_fd)
        try:
            keeper = Keeper(pid=pid, start_time=procstat.start_time(pid) or 0, network=network.kind)
            self._save(keeper)  # who is killed from here on leaves a keeper that is found
            start_network(network, pid, self.directory)
        except BaseException:
            process.kill_pidfd(pidfd)
            raise
        finally:
            os.close(pidfd)
            process.reap_later(pid)
        return keeper

    def _save(self, keeper: Keeper) -> None:
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            replace_file(fd, _FILE, jsontext.format_compact(encode(keeper)).encode())
        finally:
            os.close(fd)

    def _end(self, keeper: Keeper) -> None:
        """The keeper has ended, and with it its network's program."""
        pidfd = process.open_pidfd(keeper.pid)
        if pidfd is not None:
            process.kill_pidfd(pidfd)
            process.wait_pidfd(pidfd, _END_S)
            os.close(pidfd)
        end_network(UserNetwork(kind=keeper.network), self.directory)


def plan_mappings(user_id: int, group_id: int) -> tuple[tuple[IDMapping, ...], tuple[IDMapping, ...]]:
    """The user is root inside; users from 1 on are its subordinate ids.

    Raises:
        Unavailable: it has none.
    """
    return (
        map_ids(user_id, get_ranges(UID_FILE, user_id)),
        map_ids(group_id, get_ranges(GID_FILE, user_id)),
    )


def map_ids(own: int, ranges: tuple[tuple[int, int], ...]) -> tuple[IDMapping, ...]:
    """0 is our own, and from 1 on come the ranges one behind the other.  Pure."""
    mappings = [IDMapping(container_id=0, host_id=own, size=1)]
    inside = 1
    for first, count in ranges:
        mappings.append(IDMapping(container_id=inside, host_id=first, size=count))
        inside += count
    return tuple(mappings)


def occupants(keeper_pid: int, besides: Container[int] = ()) -> tuple[int, ...]:
    """Who else is in the keeper's user namespace, as far as we may know: our own processes and those inside.

    Every container has a monitor there; what runs in user namespaces below has one, too.
    """
    namespace = os.readlink(f"/proc/{keeper_pid}/ns/user")
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == keeper_pid or int(name) in besides:
            continue
        try:
            if os.readlink(f"/proc/{name}/ns/user") == namespace:
                found.append(int(name))
        except OSError:  # it has ended, or is none of ours
            continue
    return tuple(found)

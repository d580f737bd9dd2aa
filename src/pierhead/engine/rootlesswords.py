"""Values of an ordinary user's engine; they stand in files, so their annotations are not put off.  Pure."""

from pierhead.values import Value

PROGRAMS = ("slirp4netns", "pasta")
CHOICES = ("auto", *PROGRAMS, "none")
PASTA_DNS = "169.254.1.1"
_DNS = {"slirp4netns": "10.0.2.3", "pasta": PASTA_DNS}


class UserNetwork(Value):
    """How the namespace has the world.

    Fields:
        kind: one of ``CHOICES``, and not ``auto``.
        api_path: where ports are asked for: slirp4netns's socket, or our forwarder's beside pasta.
        opener_path: where the daemon's process outside opens sockets of the machine; empty if it does not.
        first_port: the first of the machine's ports that the user may have.
    """

    json_case = "snake"

    kind: str
    api_path: str = ""
    opener_path: str = ""
    first_port: int = 1024

    @property
    def dns(self) -> tuple[str, ...]:
        """The server for names that answers inside, as the machine's own would; none where there is none."""
        return (_DNS[self.kind],) if self.kind in _DNS else ()


class Rootless(Value):
    """An engine of an ordinary user, for its settings.

    Fields:
        user_id: the user's on the machine.
        network: how its namespace has the world.
        cgroup: path of the one that it may divide, and has; empty for none.
        controllers: of the cgroups below that.
    """

    json_case = "snake"

    user_id: int
    network: UserNetwork = UserNetwork(kind="none")
    cgroup: str = ""
    controllers: tuple[str, ...] = ()


class Keeper(Value):
    """The keeper of an engine's namespaces.

    Fields:
        pid: its number on the machine.
        start_time: in ticks since the boot: a number alone can come to mean another process.
        network: what kind of network its namespace has.
    """

    json_case = "snake"

    pid: int
    start_time: int
    network: str

"""Links and packet filters."""

from __future__ import annotations

from tests.guest.check.probing import fact, output, shell


@fact("veth between namespaces, through a bridge")
def _veth() -> str:
    script = """
        ip link add br0 type bridge; ip addr add 10.9.8.1/24 dev br0; ip link set br0 up
        unshare --net sleep 60 & other=$!
        while [ "$(readlink /proc/$other/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
        ip link add v0 type veth peer name eth0 netns $other; ip link set v0 master br0 up
        nsenter --target $other --net sh -euc 'ip addr add 10.9.8.2/24 dev eth0; ip link set eth0 up'
        mkfifo endless # an input that had ended would have it hang up, perhaps before anything was said to it
        nsenter --target $other --net busybox nc -l -p 99 >got <>endless & listener=$!
        for i in $(seq 50); do echo hello | busybox nc -w 2 10.9.8.2 99 && break; sleep 0.3; done
        wait $listener; cat got; kill $other
    """
    said = shell(f"mount -t tmpfs tmpfs /mnt; cd /mnt; {script}", unshare="--net --mount")
    assert said == "hello", said
    return "TCP over it"


@fact("nftables: bridge family", needed=False)
def _nftables_bridge() -> str:
    return _nft("add table bridge check; add chain bridge check c { type filter hook forward priority 0; }")


@fact("nftables: ip, ip6 and inet families", needed=False)
def _nftables() -> str:
    for family in ("ip", "ip6", "inet"):
        _nft(
            f"add table {family} check",
            f"add chain {family} check c {{ type nat hook postrouting priority 100; }}",
            f"add rule {family} check c masquerade",
        )
    return "masquerade"


def _nft(*rules: str) -> str:
    output("unshare", "--net", "nft", "; ".join(rules))
    return "accepted"


@fact("links: dummy, macvlan, vlan, tun")
def _links() -> str:
    return _add_links(
        "ip link add d0 type dummy",
        "ip link add m0 link d0 type macvlan",
        "ip link add link d0 name v0 type vlan id 7",
        "ip tuntap add t0 mode tun",
    )


@fact("links: ipvlan, vxlan", needed=False)
def _more_links() -> str:
    return _add_links(
        "ip link add d0 type dummy",
        "ip link add i0 link d0 type ipvlan",
        "ip link add x0 type vxlan id 1 dstport 4789 dev d0",
    )


def _add_links(*commands: str) -> str:
    listing = shell("\n".join([*commands, "ip -brief link"]), unshare="--net")
    return " ".join(line.split()[0] for line in listing.splitlines())


@fact("IPv6")
def _ipv6() -> str:
    return shell("ip link set lo up; ip -6 -brief addr show lo", unshare="--net")

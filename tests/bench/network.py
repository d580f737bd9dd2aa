"""What a container's place in its network costs: an endpoint attached and detached again.

    python -m tests.bench.network

Runs in a network namespace of its own.  Beside it stands Debian's ``nft``, which adds and removes one
element: what a program costs that lets another one change the rules, before it has done anything else.
"""

from __future__ import annotations

import subprocess
import tempfile
from typing import TYPE_CHECKING

from pierhead.net import EndpointRequest, NetworkService, NetworkSettings, parse_port_wishes
from tests.bench.measure import Comparison, Contender, describe_machine, interleave, timed_us
from tests.support.networks import machine

if TYPE_CHECKING:
    from tests.support.networks import Machine

_OTHERS = (0, 300)
_ROUNDS = 200
_PLAIN = EndpointRequest()
_PUBLISHED = EndpointRequest(ports=parse_port_wishes({"80/tcp": [("", "")]}))


def compare_attachments(host: Machine, service: NetworkService) -> Comparison:
    """Without ports and with one, beside as many endpoints as the service has."""

    def attach(request: EndpointRequest) -> None:
        service.attach("measured", request)
        service.detach("measured")

    def change_by_program() -> None:
        element = "element inet pierhead ports4 { tcp . 1 : 172.17.0.2 . 80 }"
        for verb in ("add", "delete"):
            subprocess.run(["nft", f"{verb} {element}"], check=True)

    contenders = [
        Contender("no port", lambda: host.call(timed_us, lambda: attach(_PLAIN))),
        Contender("one port", lambda: host.call(timed_us, lambda: attach(_PUBLISHED))),
        Contender("nft", lambda: host.call(timed_us, change_by_program)),
    ]
    return Comparison(
        name=f"endpoint beside {len(service.endpoints())} others",
        claim="An endpoint is attached and detached in less than 2 ms.",
        reference="one port",
        samples_us=interleave(contenders, rounds=_ROUNDS),
    )


def main() -> None:
    """Prints a table for each number of other endpoints."""
    print(describe_machine(), end="\n\n")
    with machine() as host, tempfile.TemporaryDirectory(dir="/run", prefix="pierhead-bench-") as directory:
        service = NetworkService(directory, NetworkSettings())
        host.call(service.ensure)
        for others in _OTHERS:
            for number in range(others):
                host.call(service.attach, f"other{number}", _PUBLISHED)
            print(compare_attachments(host, service).as_markdown())
        service.close()


if __name__ == "__main__":
    main()

"""What `test_docker_others` has testcontainers do, in a process beside the engine: prints what it found."""

from __future__ import annotations

import json
import sys
from urllib.request import urlopen

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy

_SERVE = "mkdir -p /www; echo page of $WHO > /www/index.html; echo up and ready; exec httpd -f -p 80 -h /www"


def main(image: str) -> None:
    """A service with a published port: waited for by its log, asked, entered, and gone at the end."""
    service = DockerContainer(image).with_command(["sh", "-c", _SERVE]).with_env("WHO", "tests")
    service = service.with_exposed_ports(80).with_copy_into_container(b"copied\n", "/etc/copied")
    with service.waiting_for(LogMessageWaitStrategy("up and ready")) as it:
        host, port = it.get_container_host_ip(), it.get_exposed_port(80)
        HttpWaitStrategy(80).wait_until_ready(it)
        with urlopen(f"http://{host}:{port}/", timeout=10) as answer:
            page = answer.read().decode()
        code, output = it.exec(["sh", "-c", "cat /etc/copied; exit 4"])
        found = {
            "page": page,
            "exec": [code, output.decode()],
            "logs": it.get_logs()[0].decode(),
            "status": it.status,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])

"""A Prefect server for one command, where none is configured.

The server runs under a keeper, which is this module as a process. The keeper's standard input
is a pipe from the command: when the command ends, in whatever way, the pipe closes, and the
keeper ends the server.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from prefect_ratify.errors import RatifyError

PREFERRED_PORT = 4200
LONGEST_START_SECONDS = 120
_keepers: list[subprocess.Popen[bytes]] = []


@contextmanager
def prefect_server() -> Iterator[str]:
    """The API address to use: the configured one, or that of a server started for this process."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    configured = PREFECT_API_URL.value()
    if configured:
        yield str(configured)
        return
    port = free_port(PREFERRED_PORT)
    url = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_API_URL": url}
    keeper = subprocess.Popen(
        [sys.executable, "-m", "prefect_ratify.flows.server", str(port)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C stops the run first; the server goes after it
    )
    # Not stopped here but with this process: Prefect sends the last events and logs when the
    # process ends, and waits long for a server that is gone.
    _keepers.append(keeper)
    _wait(url, keeper)
    with temporary_settings({PREFECT_API_URL: url}):
        yield url


def keep_server(port: int) -> None:
    """Serve until standard input closes, or the server ends by itself."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while server.poll() is None and not select.select([sys.stdin], [], [], 0.5)[0]:
        pass
    server.terminate()
    try:
        server.wait(timeout=15)
    except subprocess.TimeoutExpired:
        server.kill()


def free_port(preferred: int) -> int:
    """A port of loopback that nothing listens on: the preferred one where it is free."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RatifyError("no port is free for a server of its own; end one, or set PREFECT_API_URL")


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LONGEST_START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health", timeout=2, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise RatifyError("the Prefect server did not start; try `prefect server start`, and set PREFECT_API_URL")


if __name__ == "__main__":
    keep_server(int(sys.argv[1]))

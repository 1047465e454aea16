"""A Redis of a test's own, which syncs what it acknowledges, alone or as a cluster of three."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest


class RedisServer:
    """`redis-server` on a free port; skips where it is not installed.

    settings: further words of its command line.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        found = shutil.which("redis-server")
        if found is None:
            pytest.skip("redis-server is not installed; Debian's package is redis-server")
        self._program, self._folder, self._settings = found, folder, settings
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        words = [self._program, "--port", str(self.port), "--dir", str(self._folder), "--bind", "127.0.0.1"]
        words += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"]
        self._process = subprocess.Popen([*words, *self._settings], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(16).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            assert time.monotonic() < until, "redis-server does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class RedisNodes:
    """A Redis Cluster of three nodes on this machine, each with a third of the slots."""

    def __init__(self, folder: Path) -> None:
        self.nodes = []
        for number in range(3):
            place = folder / str(number)
            place.mkdir()
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                bus = str(free.getsockname()[1])
            self.nodes.append(RedisServer(place, "--cluster-enabled", "yes", "--cluster-port", bus))
        words = ["redis-cli", "--cluster", "create", *(f"127.0.0.1:{node.port}" for node in self.nodes)]
        subprocess.run([*words, "--cluster-yes"], check=True, stdout=subprocess.DEVNULL, timeout=60)
        self.url = f"redis-cluster://127.0.0.1:{self.nodes[0].port}"

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

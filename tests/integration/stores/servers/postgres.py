"""A PostgreSQL server on loopback, from the system's packages, with a folder of its own; and a pooler before it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.integration.stores.servers.base import STARTS, Server

USER, PASSWORD = "tester", "open-sesame"
_ACCOUNT = "postgres"
"""Whom a server runs as when the tests run as root, which PostgreSQL refuses."""


class PostgresServer(Server):
    """A PostgreSQL server that wants a password. It never waits for the disk: what a killed process has written stays
    with the system, and no test cuts the power.
    """

    def __init__(self) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="alchemy-postgres-")))
        _give_away(self.folder)

    def url(self, port: int | None = None, *, schema: str) -> str:
        """Give the URL of a store in a schema, with credentials."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port or self.port}/postgres?schema={schema}"

    def make(self) -> None:
        """Make its data folder and start it."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        options = ["--no-sync", "--no-locale", "-E", "UTF8", "-U", USER, "-A", "scram-sha-256"]
        command = [_tool("initdb"), *options, f"--pwfile={secret}", "-D", str(self.folder / "data")]
        subprocess.run(_as_account(command), check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
        self.start()

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it answers."""
        end = time.monotonic() + STARTS
        while not self._try_to_start():  # what the killed one has left behind may still be ending
            if time.monotonic() > end:
                raise RuntimeError(f"postgres did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def remove(self) -> None:
        """End it and remove its folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # does not wait for clients
            self._process.wait()
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _try_to_start(self) -> bool:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "fsync": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            command = _as_account([_tool("postgres"), "-D", str(self.folder / "data"), *options])
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        asked = [_tool("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while self._process.poll() is None:
            if subprocess.run(asked, check=False).returncode == 0:
                return True
            time.sleep(0.02)
        return False


class Pooler(Server):
    """PgBouncer in transaction mode: each transaction of a client may be made on another connection.

    Args:
        server: that it stands before.
    """

    def __init__(self, server: PostgresServer) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="alchemy-pgbouncer-")))
        self._server = server

    @staticmethod
    def is_installed() -> bool:
        """Say whether there is one."""
        return shutil.which("pgbouncer", path=_search_path()) is not None

    def start(self) -> None:
        """Start it and wait until it listens."""
        (self.folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
        (self.folder / "ini").write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={self._server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {self.folder}/users\npool_mode = transaction\n"
            "default_pool_size = 3\nserver_round_robin = 1\n"
        )
        _give_away(self.folder)
        command = _as_account([shutil.which("pgbouncer", path=_search_path()) or "pgbouncer", str(self.folder / "ini")])
        self._start(command, is_up=lambda: _listens(self.port), cwd=self.folder)

    def remove(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _search_path() -> str:
    # Debian keeps the server's tools apart, by version.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    return os.pathsep.join([os.environ.get("PATH", ""), *map(str, versions), "/usr/sbin"])


def _tool(name: str) -> str:
    found = shutil.which(name, path=_search_path())
    if found is None:
        raise RuntimeError(f"there is no {name}: install PostgreSQL (Debian, Ubuntu: apt-get install postgresql)")
    return found


def _as_account(command: Sequence[str]) -> Sequence[str]:
    if os.geteuid() != 0:
        return command
    account = pwd.getpwnam(_ACCOUNT)
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", *command]


def _give_away(folder: Path) -> None:
    if os.geteuid() == 0:
        account = pwd.getpwnam(_ACCOUNT)
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True

"""The folder that holds one local Cloudflare: its files, their modes, and who is using them.

```
.alchemy/local/metadata.sqlite     what the control plane knows (secrets included)
.alchemy/local/storage/            what databases, namespaces and buckets hold
.alchemy/local/run/                workerd's configuration and the scripts it reads
.alchemy/local/server.json         of the running server: its addresses and its API token
.alchemy/local/server.lock         held by the server and by its workerd: free when both are gone
.alchemy/local/start.lock          held while somebody starts, stops or resets
.alchemy/local/server.log, workerd.log
```

The folder has mode 0700, the files 0600.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alchemy.local._errors import LocalCloudflareError

DEFAULT_DATA_DIR = Path(".alchemy/local")
_LARGEST_LOG = 10 * 1024 * 1024


@dataclass(frozen=True)
class ServerFile:
    """What `server.json` says.

    Attributes:
        pid: of the server.
        base_url: of the API, ending in `/client/v4`.
        entry_port: port that answers to `http://NAME.localhost:PORT`.
        account_id: 32 hexadecimal digits, the same until the data is reset.
        api_token: the only one that is accepted.
    """

    pid: int
    base_url: str
    entry_port: int
    account_id: str
    api_token: str


class DataDir:
    """Paths below one data folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.metadata = self.path / "metadata.sqlite"
        self.storage = self.path / "storage"
        self.run = self.path / "run"
        self.server_file = self.path / "server.json"
        self.server_lock = self.path / "server.lock"
        self.start_lock = self.path / "start.lock"
        self.server_log = self.path / "server.log"
        self.workerd_log = self.path / "workerd.log"

    def prepare(self) -> None:
        """Make the folder, for its owner only, and keep it out of version control. Safe to repeat."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        ignore = self.path / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        self.run.mkdir(exist_ok=True, mode=0o700)

    @contextlib.contextmanager
    def usable(self) -> Generator[None]:
        """Turn what the file system refuses into a `LocalCloudflareError` that names the folder."""
        try:
            yield
        except OSError as error:
            raise LocalCloudflareError(
                f"{self.path} cannot be used for the local Cloudflare: {error.strerror or error}",
                hint="make it a folder that can be written to, or choose another: --state-dir DIR",
            ) from error

    def trim_logs(self) -> None:
        """Set a log aside that has grown large, in place of the one that was set aside before."""
        for log in (self.server_log, self.workerd_log):
            if log.exists() and log.stat().st_size > _LARGEST_LOG:
                log.replace(log.with_suffix(".log.1"))

    def write_server_file(self, content: ServerFile) -> None:
        """Say where the server is, in one step."""
        aside = self.server_file.with_suffix(".new")
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(content), file)
        aside.replace(self.server_file)

    def read_server_file(self) -> ServerFile | None:
        """Return what the last server wrote, or `None` when there is none or it cannot be read."""
        try:
            values: dict[str, Any] = json.loads(self.server_file.read_text())
            return ServerFile(**values)
        except (OSError, ValueError, TypeError):
            return None

    def remove_data(self) -> None:
        """Delete what a server keeps, and nothing else that may lie in the folder. Blocks."""
        for path in (self.storage, self.run):
            if path.exists():
                shutil.rmtree(path)
        for path in (self.server_file, self.server_log, self.workerd_log):
            path.unlink(missing_ok=True)
            path.with_suffix(".log.1").unlink(missing_ok=True)
        for ending in ("", "-wal", "-shm"):
            self.metadata.with_name(self.metadata.name + ending).unlink(missing_ok=True)

"""A Cloudflare on this machine that can be killed, and the state service on it, put there by its own client."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from tests.integration.stores.servers.service import TOKEN, answers

from alchemy.local import LocalCloudflare, environment, local_cloudflare
from alchemy.secret import Secret
from alchemy.stores._portal import Portal
from alchemy.stores._service_deploying import deploy


class Account:
    """A local Cloudflare, for tests without an event loop.

    Args:
        folder: for its data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._portal = Portal("a Cloudflare of tests")
        self._opened = AsyncExitStack()
        self._info: LocalCloudflare | None = None

    @property
    def info(self) -> LocalCloudflare:
        """Where it is."""
        assert self._info is not None, "it has been started"
        return self._info

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which programs find it, and the state service's token."""
        return {**environment(self.info), "ALCHEMY_STATE_TOKEN": TOKEN}

    def start(self) -> None:
        """Start it, with what it kept, at the same addresses."""
        self._info = self._portal.call(self._opened.enter_async_context(local_cloudflare(self._folder)))

    def kill(self) -> None:
        """End it at once, and its workerd with it."""
        os.kill(self.info.pid, signal.SIGKILL)
        self._portal.call(self._opened.aclose())

    def stop(self) -> None:
        """End it in order."""
        self._portal.call(self._opened.aclose())
        self._portal.close()


class AccountService:
    """The state service on an account that the environment names.

    Args:
        account: which runs.
        script: the Worker's name.

    Attributes:
        port: of 127.0.0.1, where it answers.
    """

    def __init__(self, account: Account, script: str) -> None:
        self.url = f"cloudflare:?script_name={script}"
        self._account = account
        self._script = script
        self.port = self._deployed()

    def start(self) -> None:
        """Start the account again, and wait until the service answers on the same port as before."""
        self._account.start()
        assert self._deployed() == self.port
        assert answers(self.port)

    def kill(self) -> None:
        """End the account at once."""
        self._account.kill()

    def _deployed(self) -> int:
        port = urlsplit(asyncio.run(deploy(self._script, Secret(TOKEN))).address).port
        assert port is not None, "every Worker has a port here"
        return port

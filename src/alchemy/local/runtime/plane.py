"""The running data plane: one workerd that always has the last good configuration.

A change is a function from the Workers as they are to the Workers as they shall be. One loop takes all changes that
are waiting, applies them with a single reload, and only then writes them down and lets their callers go on. A reload
stops workerd (it finishes what it has begun) and starts the next on the same listening sockets, where new requests
have been waiting meanwhile. When the new configuration does not come up, the old one is started again and the
change is refused. The same loop starts workerd again when it ends by itself.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from alchemy.local import _storage
from alchemy.local._datadir import DataDir
from alchemy.local._metadata import Metadata
from alchemy.local._toolchain import Toolchain
from alchemy.local.runtime import wiring
from alchemy.local.runtime.doors import Doors, Generations
from alchemy.local.runtime.files import write_files
from alchemy.local.runtime.gate import Gate
from alchemy.local.runtime.health import answers
from alchemy.local.runtime.listeners import Listeners
from alchemy.local.runtime.preflight import ScriptRefused
from alchemy.local.runtime.process import Workerd, WorkerdRefused
from alchemy.local.runtime.worker import Resources, Worker

Workers = Mapping[str, Worker]
Edit = Callable[[Workers], Awaitable[Workers]]

_log = logging.getLogger(__name__)
_GRACE = 5.0
_SHORTEST, _LONGEST = 0.05, 5.0
_STEADY = 10.0
_TRIALS = 4
_PING_EVERY, _PING_SECONDS = 5.0, 10.0


@dataclass
class _Change:
    edit: Edit
    done: asyncio.Future[Workers]
    between: Callable[[], None] | None = None

    def succeed(self, workers: Workers) -> None:
        if not self.done.done():  # its caller may have gone away
            self.done.set_result(workers)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class DataPlane:
    """workerd and what belongs to it. `serve` must be running for anything to happen."""

    def __init__(
        self, toolchain: Toolchain, data: DataDir, metadata: Metadata, *, inherit: tuple[int, ...] = ()
    ) -> None:
        """`inherit`: descriptors that workerd shall keep open as long as it lives."""
        self.toolchain = toolchain
        self.data = data
        self.listeners = Listeners()
        self.doors = Doors(Generations())
        self.gate = Gate()
        self.admin_token = secrets.token_hex(16)
        self.trials = asyncio.Semaphore(_TRIALS)
        self._metadata = metadata
        self._inherit = inherit
        self._workers: Workers = {}
        self._workerd: Workerd | None = None
        self._running: tuple[str, Mapping[str, str]] | None = None
        self._changes: list[_Change] = []
        self._wake = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._began = 0.0
        self._pause = _SHORTEST

    @property
    def workers(self) -> Workers:
        """The Workers that are being served."""
        return self._workers

    @property
    def workerd_pid(self) -> int | None:
        """Process id of workerd (or its guard), `None` while there is none."""
        return self._workerd.pid if self._workerd else None

    async def change(self, edit: Edit) -> Workers:
        """Apply a change and return the Workers with it, when they are being served and written down.

        Raises:
            ScriptRefused: workerd did not come up with it; all is as it was.
            Exception: whatever `edit` raised; all is as it was.
        """
        return await self._take_turn(_Change(edit, asyncio.get_running_loop().create_future()))

    async def refresh(self) -> None:
        """Wire the Workers anew, after something that they may be bound to has gone."""
        await self.change(_same)

    async def restart(self, between: Callable[[], None]) -> None:
        """Stop workerd, do something while nothing is open, and start it again with the same Workers.

        Every Durable Object goes from memory, also one that cannot be evicted. Requests in flight are given as long as
        for a change of the Workers; new ones wait.

        Args:
            between: blocks. It is called again when workerd has to be started in more than one attempt.

        Raises:
            ScriptRefused: workerd did not come up again.
            Exception: whatever `between` raised; workerd runs again.
        """
        await self._take_turn(_Change(_same, asyncio.get_running_loop().create_future(), between))

    async def _take_turn(self, change: _Change) -> Workers:
        self._changes.append(change)
        self._wake.set()
        return await change.done

    async def serve(self, ready: asyncio.Event, *, entry_port: int = 0) -> None:
        """Bring up what is written down, set `ready`, and serve until cancelled; then workerd is stopped.

        Raises:
            WorkerdRefused: workerd does not run at all.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    await self._boot(entry_port)
                    ready.set()
                    group.create_task(self._look_after())
                    while True:
                        await self._next()
                finally:
                    self.doors.keep(())  # they start tasks in the group
        finally:
            if self._workerd is not None:
                await self._workerd.stop()
            self.listeners.keep(())

    async def _boot(self, entry_port: int) -> None:
        stored = await self._metadata.workers()
        await asyncio.to_thread(self._prepare_storage, await self._metadata.targets(), _namespaces(stored))
        self.listeners.open(wiring.ADMIN)
        await self._open(wiring.ENTRY, entry_port)
        workers = await self._listen(stored)
        await self._metadata.replace_workers(stored, workers)
        self._workers = workers
        await self._switch(workers)

    def _prepare_storage(self, targets: Resources, namespaces: set[str]) -> None:
        _storage.prepare(self.data.storage)
        _storage.sweep_namespaces(self.data.storage, namespaces)
        for kind, names in (
            ("d1", targets.databases),
            ("kv", targets.namespaces),
            ("r2", targets.buckets.values()),
        ):
            _storage.sweep(self.data.storage, kind, names)

    async def _open(self, name: str, port: int) -> int:
        assert self._group is not None, "serve() makes the group before anything is opened"
        target = self.listeners.open(name)
        return await self.doors.open(name, target, port=port, spawn=self._group.create_task)

    async def _listen(self, workers: Workers) -> Workers:
        listening: dict[str, Worker] = {}
        for name, worker in workers.items():
            port = await self._open(f"worker:{name}", worker.port)
            listening[name] = worker if worker.port == port else replace(worker, port=port)
        return listening

    async def _next(self) -> None:
        down = self._workerd is None
        try:
            async with asyncio.timeout(self._pause if down else None):
                await self._wake.wait()
        except TimeoutError:
            await self._restart()
            return
        self._wake.clear()
        changes, self._changes = self._changes, []
        if changes:
            await self._apply(changes)

    async def _restart(self) -> None:
        self._pause = min(self._pause * 2, _LONGEST)
        try:
            await self._switch(self._workers)
        except WorkerdRefused as error:
            _log.error("workerd does not start: %s; next try in %s seconds", error, self._pause)

    async def _apply(self, changes: list[_Change]) -> None:
        before = self._workers
        after, accepted = await self._edited(changes)
        try:
            if accepted:
                await self._take_over(before, after, [each.between for each in accepted if each.between])
        except Exception as error:
            await self._go_back(before)
            if len(accepted) > 1:
                for change in accepted:  # one of them is to blame: let the others through
                    await self._apply([change])
            elif isinstance(error, WorkerdRefused):
                accepted[0].fail(ScriptRefused(error.message))
            else:
                _log.error("a change could not be made, or not be written down", exc_info=error)
                accepted[0].fail(error)
            return
        for change in accepted:
            change.succeed(self._workers)

    async def _edited(self, changes: list[_Change]) -> tuple[Workers, list[_Change]]:
        workers, accepted = self._workers, list[_Change]()
        for change in changes:
            if change.done.done():
                continue
            try:
                workers = await change.edit(workers)
            except Exception as error:
                change.fail(error)
            else:
                accepted.append(change)
        return workers, accepted

    async def _take_over(self, before: Workers, after: Workers, between: Sequence[Callable[[], None]]) -> None:
        after = await self._listen(after)
        await self._switch(after, between)
        await self._metadata.replace_workers(before, after)
        self._workers = after
        self._forget_listeners()
        for namespace in _namespaces(before) - _namespaces(after):  # no workerd has it open any more
            await asyncio.to_thread(_storage.delete_namespace, self.data.storage, namespace)

    async def _go_back(self, before: Workers) -> None:
        self._forget_listeners()
        try:
            await self._switch(before)
        except WorkerdRefused as error:
            _log.error("workerd does not start again: %s", error)

    def _forget_listeners(self) -> None:
        names = [wiring.ADMIN, wiring.ENTRY, *(f"worker:{name}" for name in self._workers)]
        self.doors.keep(names)
        self.listeners.keep(names)

    async def _switch(self, workers: Workers, between: Sequence[Callable[[], None]] = ()) -> None:
        """Run exactly these Workers, and do something `between`; nothing to do when that is what runs."""
        targets = await self._metadata.targets()
        plan = wiring.data_plane(workers, targets, storage=str(self.data.storage), admin_token=self.admin_token)
        wanted = (plan.text(), plan.environment)
        if self._workerd is not None and self._running == wanted and not between:
            return
        config = self.data.run / "config.capnp"
        await asyncio.to_thread(write_files, config, plan)
        await self.gate.close(seconds=_GRACE)
        if self._workerd is not None:
            old, self._workerd = self._workerd, None
            await self._retire(old)
        for work in between:
            await asyncio.to_thread(work)
        names = [wiring.ADMIN, wiring.ENTRY, *(f"worker:{name}" for name in workers)]
        self._workerd = await Workerd.start(
            self.toolchain,
            config,
            sockets=self.listeners.descriptors(names),
            environment=plan.environment,
            inherit=self._inherit,
            log=self.data.workerd_log,
        )
        self._running = wanted
        self._began = asyncio.get_running_loop().time()
        if self._group is not None:
            self._group.create_task(self._watch(self._workerd))
        self.gate.open()

    async def _retire(self, old: Workerd) -> None:
        generations = self.doors.generations
        generations.current += 1
        if not await old.drain(grace=_GRACE):
            generations.cut.add(generations.current - 1)
        await old.stop(grace=0)

    async def _look_after(self) -> None:
        """Kill a workerd that has stopped answering: a Worker that loops for ever takes all others with it."""
        while True:
            await asyncio.sleep(_PING_EVERY)
            workerd = self._workerd
            port = self.listeners.port(wiring.ADMIN)
            if workerd is None or await answers(port, self.admin_token, seconds=_PING_SECONDS):
                continue
            if self._workerd is workerd:  # not replaced meanwhile
                _log.warning("workerd has not answered for %s seconds; killing it", _PING_SECONDS)
                await workerd.stop(grace=0)

    async def _watch(self, workerd: Workerd) -> None:
        status = await workerd.wait()
        if self._workerd is not workerd:
            return
        _log.warning("workerd ended by itself with status %s; starting it again", status)
        self._workerd = None
        await self.gate.close(seconds=0)
        if asyncio.get_running_loop().time() - self._began > _STEADY:
            self._pause = _SHORTEST
        self._wake.set()


async def _same(workers: Workers) -> Workers:
    return workers


def _namespaces(workers: Workers) -> set[str]:
    return {namespace for worker in workers.values() for namespace in worker.classes.values()}

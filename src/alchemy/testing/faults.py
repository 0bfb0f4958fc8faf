"""What goes wrong in a process, and when: the script that a `FaultyStore` and a `Cloud` play by.

```python
faults = Faults()
store, cloud = FaultyStore(MemoryStore(), faults), Cloud(faults)
faults.crash(at=7)                                             # the process dies right after the fourth call
faults.fail("cloud.create *", lost(), after=True)              # it took effect, and nobody hears of it
faults.fail("store.set *", StateError("the disk is full"), nth=3)
gate = faults.hold("cloud.update */api")                       # stands still there until gate.open()
```

Calls are named after who was called, the operation, and what it was about: `store.set app/dev/a`, `cloud.create
app/dev/a`. Scripts match them with the wildcards of `fnmatch`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from alchemy.errors import ProviderError


class Crashed(BaseException):
    """The process died here: nothing that it does from now on has an effect. Not an error that a program handles."""


class Gate:
    """Holds calls until it is opened.

    Attributes:
        call: which calls stand at it, with wildcards. `passing`: which of those do not. `left`: how many pass before.
        entered: set when the first call stands at it.
    """

    def __init__(self, call: str = "*", nth: int = 1, *, passing: str = "") -> None:
        self.call = call
        self.passing = passing
        self.left = nth - 1
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    def open(self) -> None:
        """Let the calls go on, and those to come pass."""
        self.opened.set()

    async def wait(self) -> None:
        """Stand at it."""
        self.entered.set()
        await self.opened.wait()


@dataclass
class Fault:
    """One thing that goes wrong.

    Attributes:
        call: which calls it waits for, with wildcards.
        nth: from which of them on, 1 the first. `times`: how many of them it meets.
        after: the call takes effect all the same, and the answer is lost.
        error: raised instead of an answer. `seconds`: waited before the call (with `after`, before its answer).
        twice: the request arrives twice; the caller hears the answer to the `first` or the `second`.
        late: the request arrives when so many more have; the caller hears of `error` at once.
    """

    call: str
    nth: int = 1
    times: int = 1
    after: bool = False
    error: BaseException | None = None
    seconds: float = 0.0
    twice: str | None = None
    late: int = 0


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that has begun: what it meets, and whether the process dies when it has taken effect."""

    fault: Fault | None
    dies: bool

    @property
    def error_before(self) -> BaseException | None:
        """What is raised before it takes effect."""
        return self.fault.error if self.fault is not None and not self.fault.after else None

    @property
    def error_after(self) -> BaseException | None:
        """What is raised although it took effect."""
        return self.fault.error if self.fault is not None and self.fault.after else None

    def seconds(self, *, after: bool) -> float:
        """How long to wait at this end of the call."""
        return self.fault.seconds if self.fault is not None and self.fault.after is after else 0.0


class Faults:
    """The script of one process; whatever that process calls asks it first.

    Args:
        name: of the process, where several share a cloud.

    Attributes:
        calls: every call so far, in order.
        crashed: the process is dead.
    """

    def __init__(self, name: str = "process") -> None:
        self.name = name
        self.calls: list[str] = []
        self.crashed = False
        self._countdown: int | None = None
        self._deadly = "*"
        self._planned: list[Fault] = []
        self._gates: list[Gate] = []
        self._last_wills: list[Callable[[bool], None]] = []

    # Scripting

    def crash(self, *, at: int, call: str = "*") -> None:
        """Let the process die at an instant from now: 0 is before the next call takes effect, 1 after it has, 2 before
        the one after it, and so on. To try them all, count until a run ends without being `crashed`.

        Args:
            call: which calls are counted, with wildcards.
        """
        self._countdown, self._deadly = at, call

    def fail(self, call: str, error: BaseException, *, nth: int = 1, times: int = 1, after: bool = False) -> None:
        """Let calls fail; with `after` they take effect all the same."""
        self._planned.append(Fault(call, nth, times, after, error))

    def delay(self, call: str, seconds: float, *, nth: int = 1, times: int = 1, after: bool = False) -> None:
        """Let calls, or with `after` their answers, come late."""
        self._planned.append(Fault(call, nth, times, after, seconds=seconds))

    def duplicate(self, call: str, *, nth: int = 1, times: int = 1, answer: str = "first") -> None:
        """Let requests arrive twice; the caller hears the answer to the `first`, or to the `second`."""
        self._planned.append(Fault(call, nth, times, twice=answer))

    def postpone(self, call: str, error: BaseException, *, calls: int = 1, nth: int = 1) -> None:
        """Let a request fail at once, and arrive all the same when `calls` more have."""
        self._planned.append(Fault(call, nth, error=error, late=calls))

    def hold(self, call: str, *, nth: int = 1, passing: str = "") -> Gate:
        """Let calls, from the n-th on, stand still until the gate is opened; those in `passing` are not meant."""
        gate = Gate(call, nth, passing=passing)
        self._gates.append(gate)
        return gate

    def clear(self) -> None:
        """Forget what was planned and not met."""
        self._countdown = None
        self._planned.clear()
        for gate in self._gates:
            gate.open()
        self._gates.clear()

    # Playing

    @contextmanager
    def running(self) -> Generator[Faults]:
        """Let what is started inside be this process: what it calls of a cloud that several share meets this script."""
        token = _running.set(self)
        try:
            yield self
        finally:
            _running.reset(token)

    def on_death(self, will: Callable[[bool], None]) -> None:
        """Have something done when the process dies; told whether what it had asked for was carried out."""
        self._last_wills.append(will)

    def die(self, *, kept: bool = False) -> None:
        """End the process now.

        Args:
            kept: what was asked for before is carried out, though nobody hears of it; else it need not be.
        """
        if not self.crashed:
            self.crashed = True
            _silence_the_dead()
            for gate in self._gates:
                gate.open()
            for will in self._last_wills:
                will(kept)

    async def stand(self, call: str) -> None:
        """Wait at the gates that stand in the way of a call."""
        for gate in list(self._gates):
            if not fnmatchcase(call, gate.call) or fnmatchcase(call, gate.passing):
                continue
            if gate.left > 0:
                gate.left -= 1
            else:
                await gate.wait()

    def begin(self, call: str) -> Begun:
        """Take note of a call that is about to take effect.

        Raises:
            Crashed: the process is dead, or dies here.
        """
        self.check()
        self.calls.append(call)
        dies = False
        if self._countdown is not None and fnmatchcase(call, self._deadly):
            if self._countdown == 0:
                self.die()
                raise Crashed(f"before {call}")
            dies = self._countdown == 1
            self._countdown -= 2
        return Begun(self._meet(call), dies)

    def end(self, begun: Begun) -> None:
        """Take note that a call took effect. Raises `Crashed` when the process dies here, or what it meets."""
        if begun.dies:
            self.die(kept=True)
        self.check()
        if begun.error_after is not None:
            raise begun.error_after

    def check(self) -> None:
        """Raise `Crashed` when the process is dead."""
        if self.crashed:
            raise Crashed

    def _meet(self, call: str) -> Fault | None:
        """Give what a call meets: the first planned that fits it and has its turn."""
        for fault in self._planned:
            if not fnmatchcase(call, fault.call):
                continue
            if fault.nth > 1:
                fault.nth -= 1
                continue
            fault.times -= 1
            if fault.times <= 0:
                self._planned.remove(fault)
            return fault
        return None


def _silence_the_dead() -> None:
    """Let the loop not report tasks of a dead process that nobody awaits any more."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    before = loop.get_exception_handler()
    if getattr(before, "silences", False):
        return

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), Crashed):
            return
        if before is None:
            loop.default_exception_handler(context)
        else:
            before(loop, context)

    handle.silences = True  # type: ignore[attr-defined] # pyright: ignore[reportFunctionMemberAccess]
    loop.set_exception_handler(handle)


_running: ContextVar[Faults | None] = ContextVar("alchemy_faults", default=None)


def running_here() -> Faults | None:
    """Give the script of the process that the caller is in, if `Faults.running` said so."""
    return _running.get()


def lost(message: str = "the answer was lost", *, retryable: bool = False) -> ProviderError:
    """Give an error after which nobody knows whether the call took effect."""
    return ProviderError(message, ambiguous=True, retryable=retryable)


def refused(message: str = "no") -> ProviderError:
    """Give an error after which nothing happened."""
    return ProviderError(message, code=403)


def busy(retry_after: float | None = None) -> ProviderError:
    """Give an error that may pass."""
    return ProviderError("busy", retryable=True, retry_after=retry_after)

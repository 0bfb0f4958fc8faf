"""Start a program that shall not outlive its parent. Run as a file, with nothing but the standard library:

```
python -I -S launch.py MODE PARENT-PID CPU-SECONDS PROGRAM ARGUMENTS…
```

`MODE` is `die` where the kernel can kill a child with its parent (Linux): this process asks for that and becomes the
program. Elsewhere it is `guard`: this process stays, the program is its child, and when standard input ends, which
is when the parent is gone, it kills the child. A guard leads a process group, so that whoever misses the guard can
kill the group.

Done here rather than in a `preexec_fn`, because Python code between fork and exec can deadlock in a process that has
threads. `CPU-SECONDS` other than 0 limits the processor time of the program.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    mode, parent, seconds, *command = arguments
    if int(seconds):
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if mode == "die":
        _die_with(int(parent))
        os.execv(command[0], command)
    raise SystemExit(_guard(command))


def _die_with(parent: int) -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it died before the request was in force
        raise SystemExit(1)


def _ignore(number: int, frame: object) -> None:
    """Do nothing: the wakeup descriptor says it."""


def _guard(command: list[str]) -> int:
    os.setpgid(0, 0)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, _ignore)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    while True:
        ready, _, _ = select.select([reader, 0], [], [])
        if reader in ready and signal.SIGTERM in os.read(reader, 64):
            child.terminate()
        if 0 in ready and not os.read(0, 1):
            child.kill()
            return 1
        if (status := child.poll()) is not None:
            return status if status >= 0 else 128 - status


if __name__ == "__main__":
    main(sys.argv[1:])

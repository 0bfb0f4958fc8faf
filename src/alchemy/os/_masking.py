"""What a command prints, made fit to be shown and kept: in lines, without secrets, and not too much of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping

from alchemy.secret import MASK

KEPT = 64 * 1024
"""Bytes kept of each of a command's outputs: the last ones."""

_LONGEST_LINE = 64 * 1024
_SENSITIVE = re.compile(r"(^|_)(PASSWORD|PASSWD|TOKEN|SECRET|KEY)$")
_LEAST_INHERITED = 8


def inherited_secrets(environment: Mapping[str, str]) -> list[str]:
    """Give the values of variables whose names say that they are secret, such as `CLOUDFLARE_API_TOKEN`.

    One of less than eight characters is left out: hiding it would hide much that only looks like it.
    """
    return [value for name, value in environment.items() if _SENSITIVE.search(name) and len(value) >= _LEAST_INHERITED]


class Masker:
    """Hides values wherever they occur, each line of a value that has several by itself.

    A value that the command prints in another form (encoded, or a character at a time) is not known again.
    """

    def __init__(self, values: Iterable[str]) -> None:
        lines = {line.strip() for value in values for line in os.fsencode(value).splitlines()} - {b""}
        self._pattern = re.compile(b"|".join(map(re.escape, sorted(lines, key=len, reverse=True)))) if lines else None
        self.longest = max(map(len, lines), default=0)

    def mask(self, data: bytes) -> bytes:
        """Give `data` with `***` for every value in it."""
        return self._pattern.sub(MASK.encode(), data) if self._pattern else data

    def mask_text(self, text: str) -> str:
        """Do the same for text."""
        return self.mask(os.fsencode(text)).decode(errors="replace") if self._pattern else text


class Stream:
    """One output of a running command.

    Args:
        masker: applied before anything is shown or kept.
        log: told each line as it comes. What is not UTF-8 shows as U+FFFD; a line longer than 64 KiB comes in parts.
    """

    def __init__(self, masker: Masker, log: Callable[[str], None]) -> None:
        self._masker = masker
        self._log = log
        self._pending = bytearray()
        self._kept = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        self._pending += data
        end = self._pending.rfind(b"\n", max(0, len(self._pending) - len(data)))
        if end >= 0:
            self._emit(self._masker.mask(bytes(self._pending[: end + 1])))
            del self._pending[: end + 1]
        if len(self._pending) > _LONGEST_LINE:
            # The end is held back: it may be the beginning of a secret.
            masked = self._masker.mask(bytes(self._pending))
            cut = len(masked) - max(0, self._masker.longest - 1)
            if cut > 0:
                self._emit(masked[:cut])
                self._pending[:] = masked[cut:]

    def end(self) -> None:
        """Take note that there is no more."""
        if self._pending:
            self._emit(self._masker.mask(bytes(self._pending)))
            self._pending.clear()

    @property
    def text(self) -> str:
        """Give the end of what was printed."""
        kept = bytes(self._kept[-KEPT:])
        if len(self._kept) > KEPT:
            start = next((at for at, byte in enumerate(kept[:4]) if byte & 0xC0 != 0x80), 0)
            kept = kept[start:]  # not in the middle of a character
        return kept.decode(errors="replace")

    def _emit(self, masked: bytes) -> None:
        self._kept += masked
        if len(self._kept) > 4 * KEPT:
            del self._kept[: -KEPT - 1]
        for line in masked.removesuffix(b"\n").split(b"\n"):
            self._log(line.removesuffix(b"\r").decode(errors="replace"))

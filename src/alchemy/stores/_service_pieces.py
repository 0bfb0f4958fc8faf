"""Dividing what is too large for one request to a state service, or for one of its rows."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator, Mapping

_PIECE = 1 << 20


def pieces_of(prefix: str, content: bytes) -> Iterator[tuple[str, str]]:
    """Cut a blob into pieces that fit into rows; each can be read by itself."""
    for number, start in enumerate(range(0, max(len(content), 1), _PIECE)):
        compressed = zlib.compress(content[start : start + _PIECE], 1)
        yield f"{prefix}{number:06d}", base64.b64encode(compressed).decode()


def content_of(pieces: Iterable[str]) -> bytes:
    """Put a blob together from pieces in their order."""
    return b"".join(zlib.decompress(base64.b64decode(text)) for text in pieces)


def shares_of(puts: Mapping[str, bytes], most: int) -> list[dict[str, str]]:
    """Divide the puts of a commit into requests of about `most` bytes each; there is at least one, maybe empty.

    A row is never divided: one that is larger has a request of its own.
    """
    shares: list[dict[str, str]] = [{}]
    size = 0
    for fqn, row in puts.items():
        size += len(row)
        if size > most and shares[-1]:
            shares.append({})
            size = len(row)
        shares[-1][fqn] = row.decode()
    return shares

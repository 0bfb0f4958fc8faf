"""Asking workerd whether it is still answering."""

from __future__ import annotations

import asyncio
import contextlib


async def answers(port: int, token: str, *, seconds: float) -> bool:
    """Say whether the admin worker answers within `seconds`.

    By hand rather than with an HTTP client: its own connection, and nothing to set up every few seconds.
    """
    request = f"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nx-admin-token: {token}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request.encode())
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False

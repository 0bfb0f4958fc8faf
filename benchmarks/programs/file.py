"""$N small files in the folder `out`."""

import os

from alchemy import alchemy
from alchemy.fs import File


async def main() -> None:
    count, version = int(os.environ["N"]), os.environ["V"]
    async with alchemy("bench"):
        for number in range(count):
            File(f"f{number}", path=f"out/f{number}.txt", content=f"{version}-{number}\n")

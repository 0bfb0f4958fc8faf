"""$N resources whose provider does nothing: what remains is the engine and the store."""

import os

from alchemy import Context, Provider, Resource, alchemy, output


class Null(Resource, kind="bench::Null", provider="file:null.py#NullProvider"):
    value: str
    echo: str = output()


class NullProvider(Provider[Null]):
    recover = "again"

    async def create(self, ctx: Context[Null], want: Null) -> Null:
        return ctx.result(echo=want.value)

    async def update(self, ctx: Context[Null], want: Null, have: Null) -> Null:
        return ctx.result(echo=want.value)

    async def delete(self, ctx: Context[Null], have: Null) -> None:
        pass


async def main() -> None:
    count, version = int(os.environ["N"]), os.environ["V"]
    async with alchemy("bench"):
        for number in range(count):
            Null(f"r{number}", value=f"{version}-{number}")

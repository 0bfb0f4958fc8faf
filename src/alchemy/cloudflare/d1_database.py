"""D1: SQLite databases for Workers, with migrations from a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from alchemy.clients.cloudflare_errors import calling, given
from alchemy.cloudflare.provider import CloudflareProvider
from alchemy.errors import Gone, ProviderError
from alchemy.names import Naming
from alchemy.provider import Context
from alchemy.resource import Resource, detached, output, prop
from alchemy.state import Json

if TYPE_CHECKING:
    from cloudflare.types.d1 import D1


class D1Database(
    Resource,
    kind="cloudflare::D1Database",
    provider="alchemy.cloudflare.d1_database:D1DatabaseProvider",
    reference=("database_id", "database_name"),
):
    """A D1 database. Deleting it deletes its data.

    Attributes:
        name: what it is called in the account; by default a name made from the id. Another name replaces it.
        migrations_dir: a folder of `.sql` files, which are applied once each in the order of their names and recorded
            in the table `d1_migrations` as wrangler does; relative to the working directory. A file that was added
            is applied by the next deploy; whoever binds the database is not touched by it.
        primary_location_hint: where it should be created.
        jurisdiction: where its data must stay. Changing either of these two replaces it.
        read_replication: `auto` keeps copies around the world; `None` leaves it as it is.
        database_id: its UUID.
        database_name: the name it has.

    Source: https://developers.cloudflare.com/api/resources/d1/
    """

    name: str | None = prop(default=None, replace=True)
    migrations_dir: str | Path | None = None
    primary_location_hint: Literal["wnam", "enam", "weur", "eeur", "apac", "oc"] | None = prop(
        default=None, replace=True
    )
    jurisdiction: Literal["eu", "us", "fedramp"] | None = prop(default=None, replace=True)
    read_replication: Literal["auto", "disabled"] | None = None
    database_id: str = output()
    database_name: str = output()

    def fingerprint(self) -> Mapping[str, Json] | None:
        """Give the hashes of its migrations: an input like the others, so that a new file is a change.

        Raises:
            DeclarationError: the folder is missing or cannot be read.
        """
        if self.migrations_dir is None:
            return None
        from alchemy.cloudflare._migrations import fingerprint, read_folder

        return fingerprint(read_folder(self.migrations_dir))


class D1DatabaseProvider(CloudflareProvider[D1Database]):
    """Handles `cloudflare::D1Database`."""

    naming: ClassVar[Naming | None] = Naming(max=63)

    async def find(self, ctx: Context[D1Database], want: D1Database) -> D1Database | None:
        """Search by name; the API also lists names that merely contain it."""
        api = await self.api(ctx)
        with calling(f"look for the D1 database {ctx.name!r}", service="d1", kind="list"):
            async for found in api.sdk.d1.database.list(account_id=api.account_id, name=ctx.name):
                if found.name == ctx.name:
                    return await self._get(ctx, want, given(found.uuid, "the database's id"))
        return None

    async def read(self, ctx: Context[D1Database], have: D1Database) -> D1Database | None:
        """Ask for it by its id."""
        return await self._get(ctx, have, have.database_id)

    async def _get(self, ctx: Context[D1Database], declared: D1Database, database_id: str) -> D1Database | None:
        api = await self.api(ctx)
        try:
            with calling(f"read the D1 database {database_id}", service="d1"):
                found = await api.sdk.d1.database.get(database_id, account_id=api.account_id)
        except Gone:
            return None
        return _observed(declared, database_id, found)

    async def create(self, ctx: Context[D1Database], want: D1Database) -> D1Database:
        """Create it and apply its migrations. Its id is durable before the first of them."""
        from cloudflare import omit

        from alchemy.cloudflare._migrations import migrate, read_folder

        migrations = None if want.migrations_dir is None else read_folder(want.migrations_dir)
        api = await self.api(ctx)
        with calling(f"create the D1 database {ctx.name!r}", service="d1", kind="create"):
            made = await api.sdk.d1.database.create(
                account_id=api.account_id,
                name=ctx.name,
                primary_location_hint=want.primary_location_hint or omit,
                jurisdiction=want.jurisdiction or omit,
                read_replication={"mode": want.read_replication} if want.read_replication else omit,
            )
        database_id = given(made.uuid, "the database's id")
        outputs = {"database_id": database_id, "database_name": ctx.name}
        await ctx.checkpoint(**outputs)
        if migrations is not None:
            try:
                await migrate(api, ctx, database_id, migrations)
            except ProviderError as error:
                error.ambiguous = True  # the database is there, though its create failed
                raise
        return ctx.result(**outputs)

    async def update(self, ctx: Context[D1Database], want: D1Database, have: D1Database) -> D1Database:
        """Set the replication and apply the migrations that are not recorded yet."""
        from alchemy.cloudflare._migrations import migrate, read_folder

        migrations = None if want.migrations_dir is None else read_folder(want.migrations_dir)
        api = await self.api(ctx)
        if want.read_replication is not None:
            with calling(f"change the D1 database {have.database_name!r}", service="d1"):
                await api.sdk.d1.database.edit(
                    have.database_id, account_id=api.account_id, read_replication={"mode": want.read_replication}
                )
        if migrations is not None:
            await migrate(api, ctx, have.database_id, migrations)
        return ctx.result(database_id=have.database_id, database_name=have.database_name)

    async def delete(self, ctx: Context[D1Database], have: D1Database) -> None:
        """Delete it with its data."""
        api = await self.api(ctx)
        try:
            with calling(f"delete the D1 database {have.database_name!r}", service="d1"):
                await api.sdk.d1.database.delete(have.database_id, account_id=api.account_id)
        except Gone:
            return


def _observed(declared: D1Database, database_id: str, found: D1) -> D1Database:
    name = found.name or declared.name
    seen = detached(declared, database_id=database_id, database_name=name)
    if declared.name is not None:
        seen = detached(seen, name=name)
    if declared.jurisdiction is not None:
        seen = detached(seen, jurisdiction=found.jurisdiction)
    if declared.read_replication is not None and found.read_replication is not None:
        seen = detached(seen, read_replication=found.read_replication.mode)
    return seen

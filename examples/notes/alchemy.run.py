"""A notes application: a Worker with a database, a view counter, attachments and a secret.

alchemy deploy --local      # on this machine, no account
alchemy deploy              # on your Cloudflare account
"""

from alchemy import alchemy
from alchemy.cloudflare import D1Database, KVNamespace, R2Bucket, Worker


async def main() -> None:
    async with alchemy("notes") as app:
        async with alchemy.run("data"):
            db = D1Database("db", migrations_dir="migrations")
            views = KVNamespace("views")
            files = R2Bucket("attachments", empty_on_delete=True)

        web = await Worker(
            "web",
            entrypoint="src/worker.js",
            bindings={
                "DB": db,
                "VIEWS": views,
                "FILES": files,
                "ADMIN_TOKEN": alchemy.secret.env("NOTES_ADMIN_TOKEN"),
            },
        )
        app.export(url=web.url)

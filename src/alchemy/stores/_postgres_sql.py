"""The statements of a state store in PostgreSQL that are more than one line. Pure.

Fences: a commit begins by changing the lease's row, under the condition that it is still that lease's. So it waits for
whoever is taking the chain away and then sees that it is gone, or is waited for by them. Reading the row first is not
enough: a takeover could come between. The clock is `clock_timestamp()`: `now()` stands still since the transaction
began, and it may have waited since.
"""

from __future__ import annotations

from collections.abc import Sequence

from alchemy.ports import Lease
from alchemy.stores._locks import chains_above
from alchemy.stores._postgres_schema import BEGIN
from alchemy.stores._postgres_wire import binaries, binary, text, texts
from alchemy.stores.backend import Commit

COLUMNS = "chain, token::text, owner, since, (extract(epoch FROM renewed) + ttl)::text, held::text, lost, nonce, last"
ALIVE = "held AND clock_timestamp() <= renewed + ttl * interval '1 second'"
OVERDUE = "held AND clock_timestamp() > renewed + ttl * interval '1 second'"


def mine(lease: Lease) -> str:
    """Give the condition that a row of `leases` is that of a lease, which holds still."""
    return f"chain = {text(lease.unit)} AND token = {lease.token} AND held"


def within(column: str, chain: str) -> str:
    """Give the condition that a name is a chain or lies within it."""
    return f"({column} = {text(chain)} OR {column} > {text(chain + '/')} AND {column} < {text(chain + '0')})"


def around(chain: str) -> str:
    """Give the condition that a row of `leases` is of a chain, of one above it or of one below it."""
    return f"({within('chain', chain)} OR chain = ANY ({texts(chains_above(chain))}))"


def begin_take(schema: str, chain: str, *, whom: str) -> str:
    """Begin to take a chain: keep out all others who take one in the same application, and end who is overdue.

    Which rows there are to look at is not known before somebody has made them; so all wait at the application's.
    """
    app = text(chain.partition("/")[0])
    values = f"{app}, 0, '', '', '', clock_timestamp(), 0, false, '', ''"
    return (
        f"{BEGIN} INSERT INTO {schema}.leases VALUES ({values}) ON CONFLICT (chain) DO NOTHING;"
        f" SELECT FROM {schema}.leases WHERE chain = {app} FOR UPDATE;"
        f" UPDATE {schema}.leases SET held = false, token = token + 1, lost = {text(whom)}"
        f" WHERE {around(chain)} AND {OVERDUE}"
    )


def put_lease(schema: str, chain: str, *, owner: str, since: str, ttl: float, nonce: str) -> str:
    """Write a new holder, and give the row."""
    values = f"{text(chain)}, 1, {text(nonce)}, {text(owner)}, {text(since)}, clock_timestamp(), {ttl!r}, true, '', ''"
    changed = ("nonce", "owner", "since", "renewed", "ttl", "held", "lost", "last")
    kept = ", ".join(f"{name} = excluded.{name}" for name in changed)
    return (
        f"INSERT INTO {schema}.leases AS l VALUES ({values})"
        f" ON CONFLICT (chain) DO UPDATE SET token = l.token + 1, {kept} RETURNING {COLUMNS}"
    )


def commit(schema: str, lease: Lease, unit: str, commit: Commit, *, last: str) -> str:
    """Write a commit in one statement; a row comes when it was made.

    Args:
        last: the nonce of the lease's commit before: an answer that got lost may belong to a statement that the
            server still has before it, and that must not come after later ones.
    """
    gone = [within("fqn", commit.clear)] if commit.clear is not None else []
    if commit.drops:
        gone.append(f"fqn = ANY ({texts(commit.drops)})")
    parts = [
        f"lease AS (UPDATE {schema}.leases SET last = {text(commit.nonce)}"
        f" WHERE {mine(lease)} AND last = {text(last)} RETURNING chain)"
    ]
    if commit.puts:
        names, rows = texts(list(commit.puts)), binaries(list(commit.puts.values()))
        parts.append(f"rows AS (SELECT * FROM unnest({names}, {rows}) AS r (fqn, content))")
        parts.append(
            f"put AS (INSERT INTO {schema}.records SELECT {text(unit)}, fqn, content FROM rows"
            " WHERE EXISTS (SELECT FROM lease)"
            " ON CONFLICT (unit, fqn) DO UPDATE SET content = excluded.content)"
        )
    if gone:
        kept = " AND NOT fqn IN (SELECT fqn FROM rows)" if commit.puts else ""  # no row is changed twice
        parts.append(
            f"gone AS (DELETE FROM {schema}.records WHERE unit = {text(unit)} AND ({' OR '.join(gone)}){kept}"
            " AND EXISTS (SELECT FROM lease))"
        )
    return f"WITH {', '.join(parts)} SELECT chain FROM lease"


def save(schema: str, lease: Lease, unit: str, kind: str, name: str, content: bytes) -> str:
    """Keep a blob; two numbers come: whether the lease held, and whether the name was free."""
    values = f"{text(unit)}, {text(kind)}, {text(name)}, '', {binary(content)}"
    return (
        f"WITH lease AS (SELECT chain FROM {schema}.leases WHERE {mine(lease)} FOR SHARE),"
        f" put AS (INSERT INTO {schema}.blobs SELECT {values} WHERE EXISTS (SELECT FROM lease)"
        " ON CONFLICT DO NOTHING RETURNING name)"
        " SELECT (SELECT count(*) FROM lease)::text, (SELECT count(*) FROM put)::text"
    )


def load(schema: str, unit: str, lease: Lease | None) -> str:
    """Read a unit; under a lease a first row without a name comes when it holds."""
    rows = f"SELECT fqn, content FROM {schema}.records WHERE unit = {text(unit)}"
    if lease is None:
        return rows
    return f"SELECT '', ''::bytea FROM {schema}.leases WHERE {mine(lease)} UNION ALL {rows}"


def blobs(schema: str, unit: str, kind: str, names: Sequence[str] | None = None) -> str:
    """Give what comes after `FROM` for blobs of a unit."""
    wanted = f" AND name = ANY ({texts(names)})" if names is not None else ""
    return f"{schema}.blobs WHERE unit = {text(unit)} AND kind = {text(kind)}{wanted}"

"""Count what the state service asks of Durable Objects: requests, calls of objects, rows read and written.

```
python benchmarks/state_service.py --n 100 1000
```

The shipped module runs on workerd on this machine, with a class around its own that adds up what SQLite says of every
cursor, which is what Cloudflare bills. The tables of a new application are made before it counts. Prints a table in
Markdown, then the same as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import HERE, PROGRAMS, Failed, expect, run, work_folder

from alchemy.stores import open_store, service

sys.path.insert(0, str(HERE.parent))  # the server is that of the tests

from tests.integration.stores.servers.service import TOKEN, ServiceThread

STEPS = {
    "create": ("deploy", "null.py"),
    "no change": ("deploy", "null.py"),
    "destroy": ("destroy", "--yes", "--strategy", "parallel"),
}
_COUNTING = """
export class Store extends Uncounted {
  #cursors = [];
  constructor(context, env) {
    super(context, env);
    const run = this.run;
    this.run = (...query) => {
      const cursor = run(...query);
      this.#cursors.push(cursor);
      return cursor;
    };
  }
  #told(method, answer) {
    const sum = (name) => this.#cursors.reduce((total, cursor) => total + cursor[name], 0);
    console.error(JSON.stringify({ method, read: sum("rowsRead"), written: sum("rowsWritten") }));
    this.#cursors = [];
    return answer;
  }
  async perform(app, method, ...rest) {
    return this.#told(method, await super.perform(app, method, ...rest));
  }
  register(app) {
    return this.#told("register", super.register(app));
  }
}
"""


def counting() -> str:
    """Give the service's module with a class around its own that writes what each call has read and written."""
    source, count = re.subn(r"^export class Store ", "class Uncounted ", service.source(), flags=re.MULTILINE)
    expect(count, 1, "classes of the service")
    return source + _COUNTING


def calls(log: Path) -> list[dict[str, Any]]:
    """Give what the objects were asked so far."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"method":')]


def measure(n: int) -> list[dict[str, Any]]:
    """Deploy `n` resources, deploy them again, destroy them; give a row for each."""
    rows: list[dict[str, Any]] = []
    with work_folder(f"service-{n}") as folder:
        (folder / "null.py").write_bytes((PROGRAMS / "null.py").read_bytes())
        server = ServiceThread(folder / "service", source=counting())
        server.start()
        try:
            asyncio.run(_begin(server.url))
            for step, command in STEPS.items():
                before = len(calls(folder / "service" / "workerd.log"))
                options = ["--stage", "bench", "--quiet", "--state-store", server.url]
                env = {"N": str(n), "V": "1", "ALCHEMY_STATE_TOKEN": TOKEN}
                run([sys.executable, "-m", "alchemy", *command, *options], cwd=folder, env=env)
                rows.append(_row(n, step, calls(folder / "service" / "workerd.log")[before:]))
        finally:
            server.stop()
    return rows


async def _begin(url: str) -> None:
    os.environ["ALCHEMY_STATE_TOKEN"] = TOKEN
    store = open_store(url)
    await store.init()
    try:
        await store.all("bench")
    finally:
        await store.deinit()


def _row(n: int, step: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    methods = [call["method"] for call in found]
    return {
        "n": n,
        "step": step,
        "calls": len(found),
        "rows_read": sum(call["read"] for call in found),
        "rows_written": sum(call["written"] for call in found),
        "methods": {method: methods.count(method) for method in dict.fromkeys(methods)},
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Give the rows as a table in Markdown."""
    lines = [
        "| resources | step | calls of objects | rows read | rows written |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        numbers = " | ".join(f"{row[name]:,}" for name in ("calls", "rows_read", "rows_written"))
        lines.append(f"| {row['n']:,} | {row['step']} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, count, print."""
    parser = argparse.ArgumentParser(description="Count what the state service asks of Durable Objects.")
    parser.add_argument("--n", type=int, nargs="+", default=[100, 1000], help="how many resources")
    rows = [row for n in parser.parse_args().n for row in measure(n)]
    print(table(rows))
    print(json.dumps({"rows": rows}, indent=2))


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))

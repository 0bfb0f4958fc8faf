"""Show the main job on the local Cloudflare: deploy, use, deploy again, change, drop, destroy.

Each step says in one line what it shows, and the whole fails loudly when one is not so. `make demo` runs it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).parent
TOKEN = "let-me-tidy-up"
CLI = [sys.executable, "-m", "alchemy"]


class Demo:
    """The application in a folder of its own, and what the last deploy reported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns(".alchemy", "__pycache__", "demo.py")
        shutil.copytree(HERE, folder, dirs_exist_ok=True, ignore=ignored)
        self.environment = {
            **os.environ,
            "NOTES_ADMIN_TOKEN": TOKEN,
            "ALCHEMY_PASSWORD": "demo",
            "ALCHEMY_STAGE": "demo",
        }
        self.url = ""
        self.outcomes: dict[str, str] = {}

    def alchemy(self, *args: str) -> str:
        """Run the command line in the project's folder; what it prints for people goes on to the terminal."""
        done = subprocess.run(
            [*CLI, *args], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != 0:
            fail(f"alchemy {' '.join(args)} exited with {done.returncode}\n{done.stdout}")
        return done.stdout

    def deploy(self) -> Mapping[str, int]:
        """Deploy, keep each resource's outcome and the URL, and give the counts."""
        events = [json.loads(line) for line in self.alchemy("deploy", "--local", "--json").splitlines()]
        self.outcomes = {e["fqn"]: e["outcome"] for e in events if e["type"] == "resource.finished" and not e["old"]}
        finished = next(event for event in events if event["type"] == "run.finished")
        for fqn, outcome in self.outcomes.items():
            print(f"    {outcome:10} {fqn}")
        self.url = finished["exports"].get("url", "")
        counts: dict[str, int] = finished["counts"]
        return counts

    def request(self, method: str, path: str, body: bytes | None = None, token: str | None = None) -> tuple[int, bytes]:
        """Speak to the deployed Worker."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file of the project."""
        path = self.folder / name
        text = path.read_text()
        expect(old in text, f"{name} contains {old!r}")
        path.write_text(text.replace(old, new))


def fail(message: str) -> NoReturn:
    """Stop, loudly."""
    raise SystemExit(f"\nThe demo failed: {message}")


def expect(fact: bool, what: str) -> None:
    """Insist that something is so."""
    if not fact:
        fail(f"expected that {what}")


def step(number: int, what: str) -> None:
    """Say what is shown next."""
    print(f"\n{number}. {what}", flush=True)


def come_up(demo: Demo) -> None:
    step(1, "deploy: a Worker, a D1 database with two migrations, a KV namespace, an R2 bucket and a secret come up")
    counts = demo.deploy()
    expect(counts == {"created": 4}, f"four resources were created, not {counts}")
    print(f"    {demo.url}")


def use(demo: Demo) -> None:
    step(2, "use: it answers over HTTP, with notes in D1, an attachment in R2, a counter in KV and a guarded delete")
    status, page = demo.request("GET", "/")
    expect(status == 200 and b"seen 1 times" in page, "the page is served, and its view counted")
    status, note = demo.request("POST", "/api/notes", b'{"text": "buy <milk>"}')
    expect(status == 201, "a note is added")
    number = json.loads(note)["id"]
    content = bytes(range(256)) * 64
    expect(demo.request("PUT", f"/api/notes/{number}/attachment", content)[0] == 204, "an attachment is stored")
    expect(demo.request("GET", f"/api/notes/{number}/attachment") == (200, content), "it comes back as it was")
    expect(demo.request("DELETE", f"/api/notes/{number}", token="guess")[0] == 403, "a wrong token is refused")
    page = demo.request("GET", "/")[1]
    expect(b"buy &lt;milk&gt;" in page and b"seen 2 times" in page, "the page shows the note, and was seen twice")


def survive(demo: Demo) -> None:
    step(3, "deploy again: nothing changes, and the data is still there")
    counts = demo.deploy()
    expect(counts == {"unchanged": 4}, f"four resources are unchanged, not {counts}")
    notes: list[dict[str, Any]] = json.loads(demo.request("GET", "/api/notes")[1])
    expect([note["text"] for note in notes] == ["buy <milk>"], "the note survived")


def change(demo: Demo) -> None:
    step(4, "edit the Worker and deploy: only the Worker changes")
    demo.edit("src/page.html", "<h1>Notes</h1>", "<h1>My notes</h1>")
    counts = demo.deploy()
    expect(counts == {"unchanged": 3, "updated": 1}, f"one of four resources was updated, not {counts}")
    expect(demo.outcomes.get("notes/demo/web") == "updated", "it was the Worker")
    expect(b"<h1>My notes</h1>" in demo.request("GET", "/")[1], "the new page is served")


def drop(demo: Demo) -> None:
    step(5, "remove the KV namespace from the program and deploy: it is destroyed, after the Worker let go of it")
    demo.edit("alchemy.run.py", '            views = KVNamespace("views")\n', "")
    demo.edit("alchemy.run.py", '                "VIEWS": views,\n', "")
    counts = demo.deploy()
    expect(counts == {"unchanged": 2, "updated": 1, "deleted": 1}, f"one left, one changed, not {counts}")
    expect(demo.outcomes.get("notes/demo/data/views") == "deleted", "it was the KV namespace")
    expect(list(demo.outcomes)[-1] == "notes/demo/data/views", "the Worker was updated first")
    status, page = demo.request("GET", "/")
    expect(status == 200 and b"seen" not in page and b"buy" in page, "the page is served without the counter")


def go_away(demo: Demo) -> None:
    step(6, "destroy, without the program: everything goes, and nothing is left behind")
    (demo.folder / "alchemy.run.py").unlink()
    demo.alchemy("destroy", "notes/demo", "--local", "--yes", "--json")
    expect(demo.alchemy("state", "list").strip() == "", "state is empty")
    status = json.loads(demo.alchemy("local", "status", "--json"))
    left = [*status["workers"], *[status[name] for name in ("databases", "namespaces", "buckets") if status[name]]]
    expect(left == [], f"the local Cloudflare is empty, not {left}")
    print("    no Worker, database, namespace or bucket is left")


def main() -> None:
    """Run all steps in a fresh folder, and stop the local Cloudflare again."""
    with tempfile.TemporaryDirectory(prefix="alchemy-demo-") as folder:
        demo = Demo(Path(folder))
        try:
            for part in (come_up, use, survive, change, drop, go_away):
                part(demo)
        finally:
            demo.alchemy("local", "stop")
    print("\nThe demo is complete: every step did what it said.")


if __name__ == "__main__":
    main()

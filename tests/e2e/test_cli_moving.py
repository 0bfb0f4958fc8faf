"""State that is copied, exported, renamed, forgotten and encrypted anew from the command line."""

from __future__ import annotations

import json

from tests.e2e.conftest import Project

SECRET = 'Thing("a", token="s3cret")'


def deployed(project: Project, **env: str) -> dict[str, int]:
    """Deploy, and give the counts."""
    done = project.run("deploy", "--json", env=env)
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])["counts"]
    return counts


def test_state_is_copied_to_another_store_and_back_through_a_file(project: Project) -> None:
    """The program goes on there as if nothing had happened."""
    project.things('Thing("a")')
    deployed(project)
    copied = project.run("state", "copy", "--to", "sqlite:state.db")
    assert copied.returncode == 0, copied.stderr
    assert "notes/dev: 2 records and 0 backups copied" in copied.stdout
    assert "set state_store to sqlite:" in copied.stderr
    again = project.run("state", "copy", "--to", "sqlite:state.db", "notes/dev")
    assert "were there already" in again.stdout
    place = {"ALCHEMY_STATE_STORE": "sqlite:state.db"}
    assert deployed(project, **place) == {"unchanged": 1}
    written = project.run("state", "export", "-o", "out.json", env=place)
    assert written.returncode == 0, written.stderr
    assert project.run("state", "export", "-o", "out.json", env=place).returncode == 1
    looked = project.run("state", "import", "out.json", "--state-dir", "third")
    assert "2 records would be imported" in looked.stdout
    assert not (project.folder / "third").exists()
    assert "2 records imported" in project.ok("state", "import", "out.json", "--yes", "--state-dir", "third").stdout
    assert deployed(project, ALCHEMY_STATE_DIR="third") == {"unchanged": 1}
    back = project.run("state", "copy", "--from", "third", "--to", "file:fourth", "notes/dev/a")
    assert back.returncode == 1
    assert "is a part of a stage" in back.stderr


def test_names_and_passwords_change(project: Project) -> None:
    """A rename, a new password, and something that is forgotten: each is said, and the program goes on."""
    project.things(SECRET, 'Thing("b")')
    old, new = {"ALCHEMY_PASSWORD": "old"}, {"ALCHEMY_PASSWORD": "new"}
    deployed(project, **old)
    moved = project.run("state", "mv", "notes/dev/a", "notes/dev/c", env=old)
    assert moved.returncode == 0, moved.stderr
    assert "renaming in notes/dev, 2 in state" in moved.stdout
    assert "notes/dev: done in" in moved.stdout
    assert "notes/dev/a -> notes/dev/c" in moved.stdout
    assert project.ok("state", "check-password", env=old).stdout.startswith("notes/dev: 1 secret opened")
    refused = project.run("state", "rekey", env=old)
    assert refused.returncode == 2
    assert "the new password is not set in ALCHEMY_NEW_PASSWORD" in refused.stderr
    rekeyed = project.run("state", "rekey", env={**old, "ALCHEMY_NEW_PASSWORD": "new"})
    assert rekeyed.returncode == 0, rekeyed.stderr
    assert "nothing to do" not in rekeyed.stdout
    assert "still under the old password: 2 backups" in rekeyed.stdout
    assert project.run("state", "check-password", env=old).returncode == 1
    assert project.run("state", "check-password", env=new).returncode == 0
    assert project.run("state", "rm", "notes/dev/b").returncode == 2
    gone = project.run("state", "rm", "notes/dev/b", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert "left behind:\n  notes/dev/b  test::Thing" in gone.stdout
    assert len(project.objects) == 2
    project.things(SECRET.replace('"a"', '"c"'))
    assert deployed(project, **new) == {"unchanged": 1}


def test_what_a_reset_forgot_is_asked_for_too(project: Project) -> None:
    """`state rm` finds it as it finds what has a record, also where a person has to be asked first."""
    project.things('Thing("a")', 'Thing("b")')
    deployed(project)
    project.ok("scope", "reset", "notes/dev", "--yes")
    asked = project.run("state", "rm", "notes/dev/b")
    assert asked.returncode == 2
    assert "notes/dev/b has 1 resource, and there is no terminal to ask" in asked.stderr
    assert "notes/dev/b  test::Thing" in project.ok("state", "rm", "notes/dev/b", "--yes").stdout
    gone = project.run("state", "rm", "notes/dev/b")
    assert gone.returncode == 1
    assert "there is no notes/dev/b in state" in gone.stderr

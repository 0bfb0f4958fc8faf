"""Events add up to what is running, what ended and how."""

from __future__ import annotations

from alchemy.cli.progress import RECENT, Progress
from alchemy.events import (
    Notice,
    ResourceFinished,
    ResourceLog,
    ResourceRetrying,
    ResourceStarted,
    RunFinished,
    RunStarted,
    Waiting,
)


def started(fqn: str, **more: bool) -> ResourceStarted:
    return ResourceStarted(fqn=fqn, kind="t::T", action="create", at=100.0, **more)


def test_a_resource_runs_and_then_has_ended() -> None:
    """It is among the running until it ends; then it is counted, with how long it took."""
    progress = Progress()
    progress.feed(RunStarted(unit="a/b", phase="up"))
    progress.feed(started("a/b/one"))
    assert [entry.since for entry in progress.running.values()] == [100.0]
    progress.feed(ResourceFinished(fqn="a/b/one", kind="t::T", outcome="created", action="create", seconds=2.5))
    assert progress.running == {}
    (entry,) = progress.ended
    assert (entry.fqn, entry.outcome, entry.seconds) == ("a/b/one", "created", 2.5)
    assert progress.counts == {"created": 1}
    assert progress.ok


def test_what_did_not_change_is_only_counted() -> None:
    """Thousands of unchanged resources leave nothing behind but a number."""
    progress = Progress()
    for index in range(5000):
        progress.feed(ResourceFinished(fqn=f"a/b/{index}", kind="t::T", outcome="unchanged"))
    assert (len(progress.ended), progress.counts["unchanged"]) == (0, 5000)


def test_what_ended_is_remembered_up_to_a_limit() -> None:
    """The newest stay; the counts know all."""
    progress = Progress()
    for index in range(RECENT + 50):
        progress.feed(ResourceFinished(fqn=f"a/b/{index}", kind="t::T", outcome="created"))
    assert len(progress.ended) == RECENT
    assert progress.ended[-1].fqn == f"a/b/{RECENT + 49}"
    assert progress.counts["created"] == RECENT + 50


def test_a_failure_is_kept_with_its_words() -> None:
    """Also one that the program catches later, and one of an object that was replaced."""
    progress = Progress()
    progress.feed(ResourceFinished(fqn="a/b/one", kind="t::T", outcome="failed", error="no"))
    progress.feed(ResourceFinished(fqn="a/b/two", kind="t::T", outcome="failed", error="not gone", old=True))
    assert progress.failed == {"a/b/one": "no", "a/b/two": "not gone"}
    assert progress.counts == {"failed": 2}
    assert not progress.ok


def test_the_end_of_a_replaced_object_is_not_counted_again() -> None:
    """A replacement is one change: the old object's deletion belongs to it."""
    progress = Progress()
    progress.feed(ResourceFinished(fqn="a/b/one", kind="t::T", outcome="replaced", action="replace"))
    progress.feed(started("a/b/one", old=True))
    progress.feed(ResourceFinished(fqn="a/b/one", kind="t::T", outcome="deleted", action="delete", old=True))
    assert progress.counts == {"replaced": 1}
    assert [entry.outcome for entry in progress.ended] == ["replaced"]
    assert progress.running == {}


def test_the_last_word_of_a_provider_is_noted() -> None:
    """A log line or a retry belongs to the resource that runs; one about another is no matter."""
    progress = Progress()
    progress.feed(started("a/b/one"))
    progress.feed(ResourceLog(fqn="a/b/one", message="half way"))
    assert progress.running["a/b/one"].note == "half way"
    progress.feed(ResourceRetrying(fqn="a/b/one", action="create", attempt=1, delay=2.0, error="busy"))
    assert progress.running["a/b/one"].note == "tried again in 2 s: busy"
    progress.feed(ResourceLog(fqn="a/b/gone", message="late"))
    progress.feed(Notice(level="info", message="whatever"))


def test_a_run_that_ended_badly_is_not_ok() -> None:
    """Even when no resource failed, as after Ctrl-C."""
    progress = Progress()
    progress.feed(Waiting(unit="a/b", owner="somebody"))
    assert [progress.waiting and progress.waiting.owner] == ["somebody"]
    progress.feed(RunStarted(unit="a/b", phase="up"))
    assert [progress.waiting] == [None]
    progress.feed(RunFinished(unit="a/b", phase="up", ok=False, seconds=1.0, counts={}))
    assert not progress.ok

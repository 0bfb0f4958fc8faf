"""`alchemy scope cleanup`: destroy what earlier runs left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.commands.scope.arguments import takes
from alchemy.cli.options import given

if TYPE_CHECKING:
    from alchemy.upkeep.cleanup import Leftovers


@click.command("cleanup")
@takes(
    "local",
    "parallelism",
    "destroy_strategy",
    "quiet",
    "verbose",
    chain=True,
    as_json="Write every event as a line of JSON, and nothing else.",
)
@click.option("--force", is_flag=True, help="Do not ask.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask: the same as --force.")
def command(chain: str, as_json: bool, force: bool, yes: bool, **options: Any) -> int:
    """Destroy what earlier runs left behind.

    In CHAIN, such as notes/prod: what could not be destroyed, what was never made to its end, what was replaced, and
    what had left the program when a run failed. State alone says what that is; the program is not run.
    """
    from alchemy.cli import terminal
    from alchemy.cli.commands.scope.running import carry_out, find_subject
    from alchemy.upkeep.cleanup import clean_up, leftovers_in

    subject = find_subject(chain, given(options), operation="cleanup")
    left = {unit: leftovers_in(contents.records, subject.chain_in(unit)) for unit, contents in subject.contents.items()}
    left = {unit: found for unit, found in left.items() if found.doomed or found.kept}
    if not any(found.doomed for found in left.values()):
        for found in left.values():
            for fqn, why in found.kept.items():
                terminal.note(f"{fqn} stays: {why}")
        terminal.note(f"there is nothing to clean up in {subject.chain}")
        return 0
    if not (force or yes) and not _is_wanted(subject.chain, left):
        return 1

    async def work() -> None:
        for unit, found in left.items():
            await clean_up(unit, subject.chain_in(unit), only=found.doomed, **subject.place.store)

    return carry_out(subject.place, work, as_json=as_json)


def _is_wanted(chain: str, left: dict[str, Leftovers]) -> bool:
    from alchemy.cli.asking import is_wanted
    from alchemy.cli.columns import aligned, plural

    doomed = [item for found in left.values() for item in found.doomed.values()]
    count = plural(len(doomed), "leftover")
    return is_wanted(
        f"This destroys {count} in {chain}:",
        aligned([(item.fqn, item.kind, item.why) for item in doomed]),
        "Destroy?",
        refusal=f"{chain} has {count}, and there is no terminal to ask whether to destroy: add --force",
        kept="nothing was destroyed",
    )

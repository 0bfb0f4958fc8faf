"""`alchemy scope reset`: forget a scope's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.commands.scope.arguments import takes
from alchemy.cli.options import given

if TYPE_CHECKING:
    from alchemy.state import Record


@click.command("reset")
@takes("quiet", "verbose", chain=True, as_json="Write every event as a line of JSON, and nothing else.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(chain: str, as_json: bool, yes: bool, **options: Any) -> int:
    """Forget a scope's state, and destroy nothing.

    Of CHAIN, such as notes/prod, all records are dropped after a backup; what they stand for stays where it is and is
    named. The next deploy finds its own objects again. No other scope is touched.
    """
    from alchemy.cli import terminal
    from alchemy.cli.commands.scope.running import carry_out, find_subject
    from alchemy.cli.forgetting import may_forget, name_left
    from alchemy.upkeep.reset import reset

    subject = find_subject(chain, given(options), operation="reset")
    inside = [
        record
        for unit, contents in subject.contents.items()
        for record in contents.within(subject.chain_in(unit)).records.values()
        if not record.is_scope
    ]
    if not inside:
        terminal.note(f"there is nothing to forget in {subject.chain}")
        return 0
    if not yes and not may_forget(subject.chain, inside, how=f"of {subject.chain}"):
        return 1
    left: list[Record] = []

    async def work() -> None:
        for unit in subject.contents:
            left.extend(await reset(unit, subject.chain_in(unit), **subject.place.store))

    code = carry_out(subject.place, work, as_json=as_json)
    if left and not as_json and not subject.place.settings.quiet:
        name_left(left, "left behind, until the next deploy finds it again:")
    return code

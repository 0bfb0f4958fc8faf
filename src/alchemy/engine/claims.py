"""Whose object it is, when two records name the same one: that of whoever was written last, and not a restored one's.

A backup may hold a resource under the name that it had before it was renamed (`aliases`), and a program may give a
resource another id without saying so, and adopt its object. That is in the hands of the record with the new name; the
old record must neither delete it nor keep house with it.
"""

from __future__ import annotations

from alchemy.engine.session import Session
from alchemy.resource import Resource
from alchemy.serde import canonical
from alchemy.state import Generation, Record


def claimed_by(session: Session, record: Record, of: Record | Generation, cls: type[Resource]) -> str | None:
    """Give the FQN of a current record, other than `record`, that names the object of `of`; `None`: there is none.

    Objects that have a name are compared by it, others by their outputs and by the inputs that never change in place.
    """
    if of.physical_name:
        holder = session.holder_of(of.kind, of.physical_name)
        if holder is None or holder == record.fqn or session.records[holder].verify:
            return None
        return holder if session.records[holder].target == of.target else None
    if not of.output:
        return None
    found = session.unnamed.get(of.kind)
    if found is None:
        current = (known for known in session.records.values() if known.kind == of.kind and not known.verify)
        found = session.unnamed[of.kind] = {_identity(known, cls): known.fqn for known in current}
    holder = found.get(_identity(of, cls))
    return holder if holder != record.fqn and holder in session.records else None


def _identity(of: Record | Generation, cls: type[Resource]) -> bytes:
    fixed = {name: of.props.get(name) for name, field in cls._spec.inputs.items() if field.replace}
    return canonical({"target": of.target, "inputs": fixed, "output": of.output})

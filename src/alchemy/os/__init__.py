"""Commands on this machine."""

from alchemy.os._exec import Exec

__all__ = ["Exec"]

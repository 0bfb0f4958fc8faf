"""Values made by chance."""

from alchemy.random._string import RandomString

__all__ = ["RandomString"]

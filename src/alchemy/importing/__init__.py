"""State from elsewhere: a folder that Alchemy for TypeScript wrote, or one flat JSON file.

A source is read into what was found, translated into this package's kinds, values and secrets, composed into records,
and written in one commit a stage. Nothing is written before all of it is known to fit.
"""

from alchemy.importing.composing import Plan
from alchemy.importing.found import Source
from alchemy.importing.reading import read_source
from alchemy.importing.writing import Import, Request, dry_run, run_import

__all__ = ["Import", "Plan", "Request", "Source", "dry_run", "read_source", "run_import"]

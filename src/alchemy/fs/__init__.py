"""Files and folders on this machine."""

from alchemy.fs._copy import CopyFile
from alchemy.fs._file import File
from alchemy.fs._folder import Folder

__all__ = ["CopyFile", "File", "Folder"]

"""A Cloudflare on this machine: Workers, D1, KV and R2 behind the same REST API, without an account.

`start` runs it in the background, `environment` gives the variables that point the official SDK at it:

```python
info = await start(Path(".alchemy/local"))
os.environ.update(environment(info))
```

A Worker's address is found through the API: see `alchemy.local.control.subdomain`. Importing this module is cheap;
what it needs to run (`alchemy-iac[local]`) is imported when something is started.
"""

from alchemy.local._datadir import DEFAULT_DATA_DIR
from alchemy.local._errors import LocalCloudflareError, ToolchainError
from alchemy.local._lifecycle import (
    LocalCloudflare,
    Status,
    WorkerStatus,
    environment,
    local_cloudflare,
    reset,
    start,
    status,
    stop,
)
from alchemy.local._object_storage import StoredObject
from alchemy.local._objects import ObjectClass, delete_object, evict_all_objects, evict_object, object_classes
from alchemy.local._pins import NEWEST_COMPATIBILITY_DATE
from alchemy.local._toolchain import Report, cache_dir, install

__all__ = [
    "DEFAULT_DATA_DIR",
    "NEWEST_COMPATIBILITY_DATE",
    "LocalCloudflare",
    "LocalCloudflareError",
    "ObjectClass",
    "Report",
    "Status",
    "StoredObject",
    "ToolchainError",
    "WorkerStatus",
    "cache_dir",
    "delete_object",
    "environment",
    "evict_all_objects",
    "evict_object",
    "install",
    "local_cloudflare",
    "object_classes",
    "reset",
    "start",
    "status",
    "stop",
]

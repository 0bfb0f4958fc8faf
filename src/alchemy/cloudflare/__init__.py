"""Cloudflare: Workers, and what they are bound to.

```python
from alchemy.cloudflare import D1Database, Worker

db = D1Database("main-db", migrations_dir="migrations")
api = await Worker("api", entrypoint="src/worker.js", bindings={"DB": db})
print(api.url)
```

Credentials come from `CLOUDFLARE_API_TOKEN` and `CLOUDFLARE_ACCOUNT_ID`. The official SDK is imported when the first
call is made, not here.
"""

from alchemy.cloudflare.d1_database import D1Database
from alchemy.cloudflare.durable_object_namespace import DurableObjectNamespace
from alchemy.cloudflare.kv_namespace import KVNamespace
from alchemy.cloudflare.r2_bucket import R2Bucket
from alchemy.cloudflare.worker import Binding, Worker

__all__ = ["Binding", "D1Database", "DurableObjectNamespace", "KVNamespace", "R2Bucket", "Worker"]

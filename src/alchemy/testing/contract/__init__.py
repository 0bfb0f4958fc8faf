"""What every state store promises, as tests: subclass `StateStoreContract` and say how to open the store.

```python
class TestMyStore(StateStoreContract):
    @pytest.fixture
    def store(self, my_server):
        return lambda: MyStore(my_server.url)      # each call: another handle to the same, at first empty, place
```

A store whose storage is a server passes `ServerContract` as well, which cuts, delays and kills.

Needs pytest and anyio's plugin, which comes with anyio. A backend that passes against a real server is a backend.
"""

from __future__ import annotations

from alchemy.testing.contract.archives import ArchiveContract
from alchemy.testing.contract.base import Open
from alchemy.testing.contract.chains import ChainContract
from alchemy.testing.contract.folding import FoldingContract
from alchemy.testing.contract.golden import GoldenContract
from alchemy.testing.contract.leases import LeaseContract
from alchemy.testing.contract.logs import LogContract
from alchemy.testing.contract.places import PlaceContract
from alchemy.testing.contract.reading import ReadingContract
from alchemy.testing.contract.records import ODD_IDS, UNIT, a_resource, a_scope, an_owner, plain
from alchemy.testing.contract.servers import Reach, Server, ServerContract
from alchemy.testing.contract.writing import WritingContract

__all__ = [
    "ODD_IDS",
    "UNIT",
    "Open",
    "Reach",
    "Server",
    "ServerContract",
    "StateStoreContract",
    "a_resource",
    "a_scope",
    "an_owner",
    "plain",
]


class StateStoreContract(
    PlaceContract,
    LeaseContract,
    ChainContract,
    WritingContract,
    ReadingContract,
    FoldingContract,
    LogContract,
    ArchiveContract,
    GoldenContract,
):
    """Tests of a state store; a subclass gives the fixture `store`. Each part stands in a module of its own."""

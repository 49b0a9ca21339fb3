"""Stand-in for tests; not Ray.

It has the documented surface of Ray that raybuild's tests need and nothing more: the command line, ports and
HTTP answers of `ray start`, and ray.init, ray.remote, ray.get, ray.put, ray.wait for plain functions. Where its
behaviour is Ray's, the code names the place in Ray's source or documentation that says so.
"""

from ray import exceptions
from ray._standin.client import (
    ObjectRef,
    available_resources,
    cluster_resources,
    get,
    get_runtime_context,
    init,
    is_initialized,
    nodes,
    put,
    remote,
    shutdown,
    wait,
)
from ray._version import version as __version__

__all__ = [
    "ObjectRef",
    "__version__",
    "available_resources",
    "cluster_resources",
    "exceptions",
    "get",
    "get_runtime_context",
    "init",
    "is_initialized",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "wait",
]

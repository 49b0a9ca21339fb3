"""ray.util of the stand-in (stand-in for tests; not Ray)."""

from ray._standin.session import node_ip as get_node_ip_address

__all__ = ["get_node_ip_address"]

"""The head's memory: nodes, leases of resources, packages. Stand-in for tests; not Ray's GCS."""

import platform
import secrets
import threading
import time

from ray import exceptions
from ray._standin import versions, wire


class Gcs:
    def __init__(self, session):
        self.changed = threading.Condition()
        self.nodes = {}  # by id, in the order of their joining; dead ones stay
        self.packages = {}  # working_dir archives by name
        self.session = session
        self.start = time.time()
        # The head counts a node dead after so many failed probes (ray_config_def.h, health_check_*).
        period = versions.env_number("RAY_health_check_period_ms", 3000) / 1000
        self.silence = period * versions.env_number("RAY_health_check_failure_threshold", 5)
        threading.Thread(target=self.watch, daemon=True).start()

    def handlers(self):
        return {"check": self.check, "register": self.register, "heartbeat": self.heartbeat, "unregister": self.unregister,
                "nodes": lambda _: self.list(), "lease": self.lease, "package": lambda _, name: self.packages.get(name)}

    def check(self, _):
        """What a process compares before it joins."""
        return {"ray_version": versions.VERSION, "python_version": platform.python_version(), "session": self.session}

    def register(self, _, info):
        with self.changed:
            if not versions.at_least(1, 0):
                for n in self.nodes.values():
                    if n["state"] == "ALIVE" and n["node_ip"] == info["node_ip"]:
                        # 0.8.6 scripts.py, check_no_existing_redis_clients
                        raise exceptions.RaySystemError("This Redis instance is already connected to clients with this IP address.")
            node_id = secrets.token_hex(28)
            self.nodes[node_id] = dict(info, node_id=node_id, state="ALIVE", state_message="", seen=time.time(),
                                       start_time_ms=int(time.time() * 1000), end_time_ms=0, free=dict(info["resources_total"]))
            self.changed.notify_all()
            return {"node_id": node_id, "session": self.session}

    def heartbeat(self, _, node_id):
        """A raylet that a head does not know, or counts dead, ends itself: a new head knows none of the old one's."""
        with self.changed:
            n = self.nodes.get(node_id)
            if n is None:
                return "unknown"
            if n["state"] == "ALIVE":
                n["seen"] = time.time()
            return n["state"]

    def unregister(self, _, node_id, message):
        with self.changed:
            self.bury(node_id, message)

    def bury(self, node_id, message):
        n = self.nodes.get(node_id)
        if n and n["state"] == "ALIVE":
            n.update(state="DEAD", state_message=message, end_time_ms=int(time.time() * 1000))
            self.changed.notify_all()

    def watch(self):
        while True:
            time.sleep(0.2)
            with self.changed:
                for node_id, n in self.nodes.items():
                    if n["state"] == "ALIVE" and time.time() - n["seen"] > self.silence:
                        self.bury(node_id, "Unexpected termination: health check failed due to missing too many heartbeats")

    def list(self):
        with self.changed:
            return [{k: v for k, v in n.items() if k != "seen"} for n in self.nodes.values()]

    def alive(self):
        return [n for n in self.list() if n["state"] == "ALIVE"]

    def total(self):
        out = {}
        for n in self.alive():
            for k, v in n["resources_total"].items():
                out[k] = out.get(k, 0) + v
        return out

    def lease(self, peer, resources, avoid):
        """Wait for a node with these resources; they are given back when the connection of the lease ends.

        The node with the most free CPUs is taken. Ray packs a node half full first; a test wants tasks on all nodes.
        """
        with self.changed:
            while True:
                fitting = [n for n in self.nodes.values() if n["state"] == "ALIVE" and n["node_id"] not in avoid
                           and all(n["free"].get(k, 0) >= v for k, v in resources.items())]
                if fitting:
                    node = max(fitting, key=lambda n: n["free"].get("CPU", 0))
                    for k, v in resources.items():
                        node["free"][k] -= v
                    peer.on_close.append(lambda: self.release(node, resources))
                    return {"node_id": node["node_id"], "address": wire.join(node["node_ip"], node["node_manager_port"])}
                self.changed.wait(0.5)
                if peer.gone():
                    raise exceptions.RaySystemError("the caller is gone")

    def release(self, node, resources):
        with self.changed:
            for k, v in resources.items():
                node["free"][k] += v
            self.changed.notify_all()

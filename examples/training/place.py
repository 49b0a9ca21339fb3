"""What a job takes of its cluster: CPUs that it can have, and a directory that all nodes see.

Ray keeps a task or actor that asks for a CPU waiting for as long as there is none. A program that asks for more than
the cluster has therefore hangs and says nothing. So jobs ask here what is free before they start anything, and cpus.py
how to divide it.
"""

import os
import time
import uuid

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def free_cpus(patience=20):
    """The CPUs that are free now, after a little patience: those of a job that has just ended come back one by one."""
    whole = sum(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
    end = time.monotonic() + patience
    while True:
        free = int(ray.available_resources().get("CPU", 0))
        if free >= whole or time.monotonic() >= end:
            print(f"{min(free, whole)} of the cluster's {whole} CPUs are free", flush=True)
            return min(free, whole)
        time.sleep(0.5)


@ray.remote(num_cpus=0)
def sees(mark):
    return os.path.exists(mark) and os.access(os.path.dirname(mark), os.W_OK)


def seen_by_all(root):
    """Makes the directory, and ends the program where a node sees another one: what it writes is lost to the rest."""
    mark = os.path.join(root, ".seen-" + uuid.uuid4().hex)
    try:
        os.makedirs(root, exist_ok=True)
        with open(mark, "w", encoding="utf-8"):
            pass
    except OSError as why:
        raise SystemExit(f"cannot write to {root}: {why}: "
                         f"mount a volume there that user {os.getuid()} may write to") from None
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        answers = ray.get([sees.options(scheduling_strategy=at).remote(mark) for at in there])
    finally:
        os.remove(mark)
    blind = [node["NodeManagerHostname"] for node, ok in zip(nodes, answers) if not ok]
    if blind:
        raise SystemExit(f"{root} is another directory on {', '.join(blind)}: mount one volume on all nodes")

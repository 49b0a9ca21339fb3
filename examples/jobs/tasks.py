"""Fifty tasks of one second: in one process, then on the cluster. For every Ray version from 0.8.6.

    raybuild cluster submit -- python tasks.py

RAY_ADDRESS is set in every container that `raybuild cluster up` starts, so ray.init() joins the cluster; without it Ray would
quietly start a private one in this container.
"""

import collections
import socket
import sys
import time

import ray

TASKS = int(sys.argv[1]) if len(sys.argv) > 1 else 50


def work():
    time.sleep(1)
    return socket.gethostname()


@ray.remote
def remote_work():
    return work()


def main():
    ray.init()
    start = time.time()
    for _ in range(TASKS):
        work()
    alone = time.time() - start
    start = time.time()
    hosts = ray.get([remote_work.remote() for _ in range(TASKS)])
    spread = time.time() - start
    print("one process: %.1f s, cluster: %.1f s, speed-up %.1f" % (alone, spread, alone / spread))
    for host, count in sorted(collections.Counter(hosts).items()):
        print("  %s: %d tasks" % (host, count))


if __name__ == "__main__":
    main()

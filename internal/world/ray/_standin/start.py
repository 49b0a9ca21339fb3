"""`ray start`: checks, the processes of a node, and their watch (python/ray/scripts/scripts.py, _private/node.py)."""

import json
import os
import platform
import queue
import signal
import subprocess
import sys
import threading
import time

from ray import exceptions
from ray._standin import auth, session, versions, wire

MIN_STORE = 75 << 20  # ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES
SLOW_STORE = 10 << 30  # above it Ray refuses a store that does not fit /dev/shm (REQUIRE_SHM_SIZE_THRESHOLD)


class Refused(Exception):
    """What ends `ray start` with exit code 1 and a message."""


class Node:
    """The processes of a node on this machine."""

    def __init__(self):
        self.processes = {}  # name -> process
        self.session = None
        self.address = None
        self.dashboard = ""
        self.node_id = None

    def spawn(self, module, config, patience=30):
        """Start a process and wait for its "ready"; Ray gives a node 30 s to register."""
        log = os.path.join(self.session, "logs", module + ".out")
        err = open(os.path.join(self.session, "logs", module + ".err"), "ab")
        p = subprocess.Popen([sys.executable, "-m", "ray._standin." + module, json.dumps(config)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=err, start_new_session=True, text=True)
        err.close()
        self.processes[module] = p
        lines = queue.Queue()

        def pump():
            with open(log, "a") as f:
                for line in p.stdout:
                    lines.put(line)
                    f.write(line)
                    f.flush()
            lines.put("")

        threading.Thread(target=pump, daemon=True).start()
        end = time.time() + patience
        while True:
            try:
                line = lines.get(timeout=max(0.0, end - time.time()))
            except queue.Empty:
                raise Refused("The current node timed out during startup. This could happen because some of the Ray processes failed to startup.")
            if line.startswith("ready "):
                return json.loads(line[len("ready "):])
            if line == "":
                p.wait()
                raise Refused(self.tail(module) or "%s exited with code %s" % (module, p.returncode))

    def tail(self, module):
        try:
            with open(os.path.join(self.session, "logs", module + ".err")) as f:
                return f.read().strip()[-2000:]
        except OSError:
            return ""

    def stop(self):
        """Each process gets SIGTERM and a second, then SIGKILL (node.py, kill_all_processes)."""
        for p in reversed(list(self.processes.values())):
            if p.poll() is None:
                p.terminate()
                try:
                    p.wait(1)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()

    def dead(self):
        return [(name, p.returncode) for name, p in self.processes.items() if p.poll() is not None]


def resources(o, head, ip):
    custom = json.loads(o.get("--resources") or "{}")
    if not isinstance(custom, dict) or any(k in ("CPU", "GPU", "memory", "object_store_memory") for k in custom):
        raise Refused("Unable to parse the --resources argument: it must be a JSON object without CPU, GPU, memory and object_store_memory")
    out = {"CPU": float(o.get("--num-cpus", os.cpu_count() or 1)), "node:" + ip: 1.0}
    if o.get("--num-gpus"):
        out["GPU"] = float(o["--num-gpus"])
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    store = o.get("--object-store-memory") or max(MIN_STORE, min(int(available * 0.3), 200 * 10**9))
    out["memory"] = float(o.get("--memory") or max(0, available - store))
    out["object_store_memory"] = float(check_store(store))
    if head and versions.at_least(2, 0):
        out["node:__internal_head__"] = 1.0
    out.update({k: float(v) for k, v in custom.items()})
    return {k: v for k, v in out.items() if v > 0}


def check_store(store):
    """services.determine_plasma_store_config."""
    if store < MIN_STORE:
        raise Refused("Attempting to cap object store memory usage at %d bytes, but the minimum allowed is %d bytes." % (store, MIN_STORE))
    try:
        s = os.statvfs("/dev/shm")
    except OSError:
        return store
    shm = s.f_bavail * s.f_frsize
    if store <= shm:
        return store
    if versions.at_least(1, 3) and store > SLOW_STORE and os.environ.get("RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE") != "1":
        raise Refused("The configured object store size (%g GB) exceeds /dev/shm size (%g GB). This will harm performance. Consider deleting files in "
                      "/dev/shm or increasing its size with --shm-size in Docker." % (store / 1e9, shm / 1e9))
    print("WARNING: The object store is using /tmp/ray instead of /dev/shm because /dev/shm has only %d bytes available. This will harm performance! You may "
          "be able to free up space by deleting files in /dev/shm. If you are inside a Docker container, you can increase /dev/shm size by passing "
          "'--shm-size=%.2fgb' to 'docker run' (or add it to the run_options list in a Ray cluster config). Make sure to set this to more than 30%% of "
          "available RAM." % (shm, store * 1.1 / 2**30), file=sys.stderr)
    return store


def check_versions(gcs, node_ip):
    """utils.check_version_info, with Ray's text."""
    mine = platform.python_version()
    if gcs["ray_version"] != versions.VERSION or gcs["python_version"] != mine:
        raise Refused("Version mismatch: The cluster was started with:\n    Ray: %s\n    Python: %s\nThis process on node %s was started with:\n"
                      "    Ray: %s\n    Python: %s\n" % (gcs["ray_version"], gcs["python_version"], node_ip, versions.VERSION, mine))


def wait_for_head(address, token, retries=None):
    """A worker's patience is RAY_NUM_REDIS_GET_RETRIES (20) tries, a second apart."""
    tries = int(versions.env_number("RAY_NUM_REDIS_GET_RETRIES", 20)) if retries is None else retries
    for left in range(tries, 0, -1):
        try:
            return wire.once(address, token, "check")
        except OSError as e:
            if left == 1:
                raise Refused("Failed to connect to GCS at address=%s: %s" % (address, e))
            time.sleep(1)


def labels(text):
    """JSON before 2.46 (ray#52085), key=value pairs since."""
    if not text:
        return {}
    if not versions.at_least(2, 46) or text.startswith("{"):
        return json.loads(text)
    out = {}
    for pair in text.split(","):
        key, sep, value = pair.partition("=")
        if not sep:
            raise Refused("Invalid label %s: write key=value" % pair)
        out[key] = value
    return out


def check_options(o):
    head = o.get("--head")
    if not head and not o.get("--address"):
        raise Refused("`ray start` must be called with either --head or --address=<address of the head>.")
    if not head:
        for name in ("--port", "--redis-shard-ports", "--include-dashboard"):
            if name in o:
                raise Refused("`%s` should only be specified when starting head node with `--head`." % name)
    if "--ray-client-server-port" in o and not versions.has_client():
        raise Refused("Ray Client requires pip package `ray[client]`. If you installed the minimal Ray (e.g. `pip install ray`), please reinstall by "
                      "executing `pip install ray[client]`.")


def start(o):
    """Start a node from the options of `ray start`; the node runs when this returns."""
    check_options(o)
    head = bool(o.get("--head"))
    ip = session.resolve(o["--node-ip-address"]) if o.get("--node-ip-address") else session.node_ip()
    node = Node()
    node.session = session.make(o.get("--temp-dir") or "/tmp/ray")
    try:
        token = auth.token_for(head=head)
        if head:
            ready = node.spawn("gcs_server", head_config(o, ip, node.session))
            node.address, node.dashboard = ready["address"], ready["dashboard"]
        else:
            node.address = session.resolve(o["--address"])
            check_versions(wait_for_head(node.address, token), ip)
        node.node_id = node.spawn("raylet", raylet_config(o, ip, node, head))["node_id"]
    except exceptions.RayError as e:
        node.stop()
        raise Refused(str(e))
    except BaseException:
        node.stop()
        raise
    return node


def head_config(o, ip, path):
    old = not versions.at_least(0, 8, 7)
    other = []
    if not versions.at_least(1, 11):
        other += [int(p) for p in str(o.get("--redis-shard-ports") or "").split(",") if p]
        other += [o["--gcs-server-port"]] if o.get("--gcs-server-port") else []
    if versions.has_client():
        other.append(o.get("--ray-client-server-port", 10001))
    return {"node_ip": ip, "port": o.get("--port", 6379), "session": path, "other_ports": other,
            "include_dashboard": o.get("--include-webui" if old else "--include-dashboard"),
            "dashboard_host": session_host(o.get("--webui-host" if old else "--dashboard-host", "127.0.0.1")),
            "dashboard_port": 8265 if old else o.get("--dashboard-port", 8265)}


def session_host(host):
    return "127.0.0.1" if host == "localhost" else host


def raylet_config(o, ip, node, head):
    c = {"head": head, "node_ip": ip, "gcs_address": node.address, "session": node.session, "node_name": o.get("--node-name") or "",
         "node_manager_port": o.get("--node-manager-port", 0), "object_manager_port": o.get("--object-manager-port", 0),
         "min_worker_port": o.get("--min-worker-port", 10002), "max_worker_port": o.get("--max-worker-port", 19999),
         "resources": resources(o, head, ip), "labels": labels(o.get("--labels"))}
    have = versions.start_options()
    for name, key, default in (("--runtime-env-agent-port", "runtime_env_agent_port", 0), ("--dashboard-agent-grpc-port", "agent_grpc_port", 0),
                               ("--dashboard-agent-listen-port", "agent_listen_port", 52365), ("--metrics-export-port", "metrics_export_port", 0)):
        if name in have:
            c[key] = o.get(name, default)
    return c


def block(node):
    """--block: watch the processes, each second; one that ends takes the others along, and the exit code is 1. SIGTERM cleans
    up and exits with 1, too (node.py, sigterm_handler)."""

    def terminate(*_):
        node.stop()
        os._exit(1)

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    while True:
        time.sleep(1)
        dead = node.dead()
        if dead:
            print("Some Ray subprocesses exited unexpectedly:", file=sys.stderr)
            for name, code in dead:
                print("  %s [exit code=%s]\n%s" % (name, code, node.tail(name)), file=sys.stderr)
            print("Remaining processes will be killed.", file=sys.stderr, flush=True)
            node.stop()
            return 1

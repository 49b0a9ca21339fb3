"""The driver's side: ray.init, ray.remote, ray.get … for plain functions. Stand-in for tests; not Ray."""

import atexit
import base64
import concurrent.futures
import json
import os
import pickle
import tempfile
import threading
import time

from ray import exceptions
from ray._standin import auth, function, session, start, versions, wire

RETRIES = 3  # max_retries of a task whose node or worker dies (ray.remote's default)


class Driver:
    """The connection of this process to a cluster."""

    def __init__(self, address, token, runtime_env, own=None):
        self.address, self.token, self.own = address, token, own
        self.working_dir = (runtime_env or {}).get("working_dir") or ""
        self.env = {str(k): str(v) for k, v in ((runtime_env or {}).get("env_vars") or {}).items()}
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=256)
        self.job_id = "%08x" % (os.getpid() & 0xFFFFFFFF)

    def call(self, method, **arguments):
        return wire.once(self.address, self.token, method, **arguments)


current = {"driver": None}
lock = threading.RLock()


def init(address=None, **options):
    """Join the cluster at an address, or at RAY_ADDRESS, or "auto"; with none of them start a private one, as Ray does."""
    with lock:
        if current["driver"] is not None:
            if options.get("ignore_reinit_error"):
                return context()
            raise RuntimeError("Maybe you called ray.init twice by accident? This error can be suppressed by passing in "
                               "'ignore_reinit_error=True' or by calling 'ray.shutdown()' prior to 'ray.init()'.")
        given = os.environ.get("RAY_ADDRESS")
        if given and address and address != "auto" and not versions.at_least(1, 0):
            raise Exception("Cannot use both the RAY_ADDRESS environment variable and the address argument of ray.init simultaneously. If you use "
                            "RAY_ADDRESS to connect to a specific Ray cluster, please call ray.init() or ray.init(address=\"auto\").")
        address = given if address in (None, "auto") and given else address
        if address == "auto":
            raise ConnectionError("Could not find any running Ray instance. Please specify the one to connect to by setting `--address` flag or "
                                  "`RAY_ADDRESS` environment variable.")
        # A job's runtime_env reaches its driver in this variable (dashboard/modules/job/job_supervisor.py).
        env = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}").get("runtime_env") or {}
        env.update(options.get("runtime_env") or {})
        if address is None:
            current["driver"] = private(options, env)
        else:
            address = session.resolve(address)
            token = auth.token_for()
            gcs = wire.once(address, token, "check", timeout=10)
            try:
                start.check_versions(gcs, session.node_ip())
            except start.Refused as e:
                raise RuntimeError(str(e))
            current["driver"] = Driver(address, token, env)
        atexit.register(shutdown)
        return context()


def private(options, env):
    """A cluster of this process alone."""
    o = {"--head": True, "--port": 0, "--node-ip-address": "127.0.0.1", "--dashboard-port": 0, "--include-dashboard": False,
         "--temp-dir": tempfile.mkdtemp(prefix="ray-"), "--object-store-memory": start.MIN_STORE}
    if versions.has_client():
        o["--ray-client-server-port"] = 0
    if "--dashboard-agent-listen-port" in versions.start_options():
        o["--dashboard-agent-listen-port"] = 0
    if options.get("num_cpus") is not None:
        o["--num-cpus"] = options["num_cpus"]
    node = start.start(o)
    return Driver(node.address, auth.token_for(head=True), env, own=node)


def context():
    d = current["driver"]
    return {"address": d.address, "gcs_address": d.address}


def driver():
    """The driver of this process; ray.remote's first use joins the cluster by itself, as Ray's auto-init does."""
    with lock:
        if current["driver"] is None:
            init()
        return current["driver"]


def shutdown():
    with lock:
        d, current["driver"] = current["driver"], None
    if d is not None:
        d.pool.shutdown(wait=False, cancel_futures=True)
        if d.own:
            d.own.stop()


def is_initialized():
    return current["driver"] is not None


class ObjectRef:
    """A value to come."""

    def __init__(self, future):
        self.future = future

    def __reduce__(self):
        raise TypeError("the stand-in's ObjectRef stays in its process")


def put(value):
    future = concurrent.futures.Future()
    future.set_result(value)
    return ObjectRef(future)


def get(refs, *, timeout=None):
    if isinstance(refs, ObjectRef):
        return one(refs, timeout)
    end = None if timeout is None else time.time() + timeout
    return [one(r, None if end is None else max(0.0, end - time.time())) for r in refs]


def one(ref, timeout):
    if not isinstance(ref, ObjectRef):
        raise TypeError("Attempting to call `get` on the value %r, which is not an ray.ObjectRef." % (ref,))
    try:
        return ref.future.result(timeout)
    except concurrent.futures.TimeoutError:
        if ref.future.done():
            raise
        raise exceptions.GetTimeoutError("Get timed out: some object(s) not ready.")


def wait(refs, *, num_returns=1, timeout=None, fetch_local=True):
    del fetch_local
    refs = list(refs)
    end = None if timeout is None else time.time() + timeout
    while True:
        ready = [r for r in refs if r.future.done()]
        if len(ready) >= num_returns or (end is not None and time.time() >= end):
            ready = ready[:num_returns]
            return ready, [r for r in refs if r not in ready]
        pending = [r.future for r in refs if not r.future.done()]
        concurrent.futures.wait(pending, None if end is None else max(0.0, end - time.time()), concurrent.futures.FIRST_COMPLETED)


class RemoteFunction:
    def __init__(self, f, options):
        self.function, self.given = f, options
        self.__name__ = f.__name__

    def __call__(self, *args, **kwargs):
        raise TypeError("Remote functions cannot be called directly. Instead of running '%s()', try '%s.remote()'." % (self.__name__, self.__name__))

    def options(self, **options):
        return RemoteFunction(self.function, dict(self.given, **options))

    def remote(self, *args, **kwargs):
        d = driver()
        return ObjectRef(d.pool.submit(submit, d, self.function, self.given, args, kwargs))

    def remote_parts(self):
        """What makes it again in a worker (function.py)."""
        return self.function, self.given


def remote(*args, **options):
    """@ray.remote and @ray.remote(num_cpus=…, num_gpus=…, resources=…, max_retries=…)."""
    if len(args) == 1 and not options and callable(args[0]):
        return wrap(args[0], {})
    if args:
        raise TypeError("The @ray.remote decorator must be applied either with no arguments and no parentheses, or with keyword arguments.")
    return lambda f: wrap(f, options)


def wrap(f, options):
    if isinstance(f, type):
        raise NotImplementedError("the stand-in ray has no actors")
    return RemoteFunction(f, options)


def needs(options):
    out = {"CPU": float(options.get("num_cpus", 1) or 0)}
    if options.get("num_gpus"):
        out["GPU"] = float(options["num_gpus"])
    out.update({k: float(v) for k, v in (options.get("resources") or {}).items()})
    return out


def submit(d, f, options, args, kwargs):
    """Run one task; in a thread of the driver. Object references among the arguments are replaced by their values."""
    args = [one(a, None) if isinstance(a, ObjectRef) else a for a in args]
    kwargs = {k: one(v, None) if isinstance(v, ObjectRef) else v for k, v in kwargs.items()}
    task = {"function": function.pack(f), "arguments": base64.b64encode(pickle.dumps((args, kwargs))).decode(), "env": d.env, "working_dir": d.working_dir}
    retries = options.get("max_retries", RETRIES)
    avoid = []
    while True:
        lease = wire.Connection(d.address, d.token)
        node = None
        try:
            node = lease.call("lease", resources=needs(options), avoid=avoid)
            return result(run(d, node, task))
        except (OSError, exceptions.WorkerCrashedError) as e:
            if retries == 0:
                raise exceptions.NodeDiedError("Task failed because its node died: %s" % e) if isinstance(e, OSError) else e
            retries -= 1
            if node is not None and isinstance(e, OSError):
                avoid.append(node["node_id"])
        finally:
            lease.close()


def run(d, node, task):
    c = wire.Connection(node["address"], d.token)
    try:
        return c.call("run", **task)
    finally:
        c.close()


def result(answer):
    if "value" in answer:
        return pickle.loads(base64.b64decode(answer["value"]))
    cause = pickle.loads(base64.b64decode(answer["cause"])) if answer["cause"] else None
    raise exceptions.RayTaskError(answer["raised"], cause) from cause


def nodes():
    """The form of ray.nodes() (python/ray/_private/state.py, node_table)."""
    out = []
    for n in driver().call("nodes"):
        alive = n["state"] == "ALIVE"
        out.append({"NodeID": n["node_id"], "Alive": alive, "alive": alive, "NodeManagerAddress": n["node_ip"], "NodeManagerHostname": n["hostname"],
                    "NodeManagerPort": n["node_manager_port"], "ObjectManagerPort": n["object_manager_port"], "MetricsExportPort": n["metrics_port"],
                    "NodeName": n["node_name"], "Labels": n["labels"], "Resources": n["resources_total"] if alive else {}})
    return out


def summed(key):
    out = {}
    for n in driver().call("nodes"):
        if n["state"] == "ALIVE":
            for k, v in n[key].items():
                out[k] = out.get(k, 0.0) + v
    return out


def cluster_resources():
    return summed("resources_total")


def available_resources():
    return summed("free")


class RuntimeContext:
    def get_node_id(self):
        """The node of this process: of its worker, or the one on this machine, else the head's."""
        if "RAY_STANDIN_NODE_ID" in os.environ:
            return os.environ["RAY_STANDIN_NODE_ID"]
        alive = [n for n in driver().call("nodes") if n["state"] == "ALIVE"]
        mine = [n for n in alive if n["node_ip"] == session.node_ip()] or [n for n in alive if n["is_head_node"]]
        return mine[0]["node_id"]

    node_id = property(get_node_id)

    def get_job_id(self):
        return driver().job_id


def get_runtime_context():
    return RuntimeContext()

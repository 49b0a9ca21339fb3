"""The raylet of the stand-in: joins the head, beats, runs tasks in worker processes, answers the agent's HTTP."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile

from ray import exceptions
from ray._standin import agent, auth, versions, wire


class Worker:
    """A worker process with its socket and its port."""

    def __init__(self, pid, port, listener, pipe):
        self.pid, self.port, self.listener, self.pipe = pid, port, listener, pipe

    def kill(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended itself


class Raylet:
    def __init__(self, config):
        self.config = config
        self.token = auth.token_for(head=config["head"])
        self.idle = {}  # workers that wait for a task, by their working directory
        self.lock = threading.Lock()
        self.ports = {}  # worker port -> worker
        self.zygote, self.zygote_lock = None, threading.Lock()
        self.node_id = None
        self.alive = True

    def start(self):
        c = self.config
        self.zygote = self.start_zygote()
        self.server = wire.listen(c["node_ip"], c["node_manager_port"])
        self.config["node_manager_port"] = self.server.getsockname()[1]
        for name in ("object_manager_port", "runtime_env_agent_port", "agent_grpc_port"):
            if name in c:
                self.config[name] = wire.occupy(c["node_ip"], c[name]).getsockname()[1]
        agent.start(self)
        self.register()
        threading.Thread(target=wire.serve, args=(self.server, {"run": self.run, "check": lambda _: {"node_id": self.node_id}}, self.token),
                         daemon=True).start()

    def register(self):
        c = self.config
        info = {"node_ip": c["node_ip"], "node_name": c["node_name"] or c["node_ip"], "hostname": socket.gethostname(), "is_head_node": c["head"],
                "node_manager_port": c["node_manager_port"], "object_manager_port": c.get("object_manager_port", 0), "agent_port": c.get("agent_listen_port", 0),
                "metrics_port": c.get("metrics_export_port", 0), "resources_total": c["resources"], "labels": c["labels"], "pid": os.getpid()}
        self.node_id = wire.once(c["gcs_address"], self.token, "register", info=info)["node_id"]

    def beat(self):
        """Beat until the node has to end; returns why. Ray's raylet gives a lost head gcs_rpc_server_reconnect_timeout_s."""
        patience = versions.env_number("RAY_gcs_rpc_server_reconnect_timeout_s", 60)
        last = time.time()
        while True:
            time.sleep(min(1.0, patience / 4))
            try:
                state = wire.once(self.config["gcs_address"], self.token, "heartbeat", node_id=self.node_id)
                last = time.time()
            except (OSError, exceptions.RayError):
                self.alive = False
                if time.time() - last > patience:
                    return "Failed to connect to GCS within %g seconds" % patience
                continue
            self.alive = state == "ALIVE"
            if state == "unknown":
                return "the head does not know this node: it has started anew"
            if state == "DEAD":
                return "the head counts this node dead"

    def run(self, peer, function, arguments, env, working_dir):
        del peer
        worker = self.take(working_dir)
        try:
            wire.send(worker.pipe, {"function": function, "arguments": arguments, "env": env})
            answer = wire.receive(worker.pipe)
        except OSError:
            answer = None
        if answer is None:
            self.forget(worker)
            raise exceptions.WorkerCrashedError("The worker died unexpectedly while executing this task (pid %d)." % worker.pid)
        with self.lock:
            self.idle.setdefault(working_dir, []).append(worker)
        return answer

    def take(self, working_dir):
        with self.lock:
            waiting = self.idle.get(working_dir)
            if waiting:
                return waiting.pop()
            taken = set(self.ports)
        c = self.config
        for port in range(c["min_worker_port"], c["max_worker_port"] + 1):
            if port in taken:
                continue
            try:
                listener = wire.occupy(c["node_ip"], port)
            except OSError:
                continue
            break
        else:
            raise exceptions.RaySystemError("No available ports. Please specify a wider port range using --min-worker-port and --max-worker-port.")
        try:
            worker = self.fork(port, listener, working_dir)
        except OSError:
            listener.close()
            raise
        with self.lock:
            self.ports[port] = worker
        return worker

    def fork(self, port, listener, working_dir):
        c = self.config
        ours, theirs = socket.socketpair()
        request = {"cwd": self.directory(working_dir), "log": os.path.join(c["session"], "logs", "worker-%d.out" % port), "node_id": self.node_id,
                   "address": c["gcs_address"]}
        with self.zygote_lock:
            socket.send_fds(self.zygote, [json.dumps(request).encode()], [theirs.fileno()])
            answer = self.zygote.recv(64)
        theirs.close()
        if not answer:
            raise exceptions.RaySystemError("no worker can be started: the zygote is gone")
        return Worker(int(answer), port, listener, ours)

    def start_zygote(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        subprocess.Popen([sys.executable, "-m", "ray._standin.worker", str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        return ours

    def directory(self, uri):
        """The unpacked working_dir of a driver (runtime_env working_dir, gcs:// packages)."""
        if not uri:
            return self.config["session"]
        return unpack_package(uri, self.config["session"], lambda name: wire.once(self.config["gcs_address"], self.token, "package", name=name))

    def forget(self, worker):
        worker.kill()
        worker.pipe.close()
        worker.listener.shutdown(socket.SHUT_RDWR)
        worker.listener.close()
        with self.lock:
            self.ports.pop(worker.port, None)

    def stop(self, message):
        try:
            wire.once(self.config["gcs_address"], self.token, "unregister", timeout=1, node_id=self.node_id, message=message)
        except (OSError, exceptions.RayError):
            pass  # the head went first
        for worker in list(self.ports.values()):
            worker.kill()


def unpack_package(uri, session, load):
    name = uri[len("gcs://"):]
    path = os.path.join(session, "runtime_resources", "working_dir_files", name.rsplit(".", 1)[0])
    if not os.path.isdir(path):
        data = load(name)
        if data is None:
            raise exceptions.RaySystemError("working_dir %s was not uploaded" % uri)
        part = "%s.%d.%d" % (path, os.getpid(), threading.get_ident())
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(data))) as z:
            z.extractall(part)  # zipfile drops leading slashes and ".."
        try:
            os.rename(part, path)
        except OSError:
            pass  # another thread was quicker
    return path


def main():
    raylet = Raylet(json.loads(sys.argv[1]))

    def terminate(signum, _):
        del signum
        raylet.stop("Expected termination: received SIGTERM")
        os._exit(0)

    signal.signal(signal.SIGTERM, terminate)
    try:
        raylet.start()
    except (OSError, exceptions.RayError) as e:
        print("raylet: %s" % e, file=sys.stderr)
        return 1
    print("ready " + json.dumps({"node_id": raylet.node_id}), flush=True)
    reason = raylet.beat()
    print("raylet: " + reason, file=sys.stderr)
    raylet.stop(reason)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

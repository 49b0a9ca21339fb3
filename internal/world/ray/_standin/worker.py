"""Worker processes: a zygote with everything imported forks one for each that the raylet asks for; a worker runs the tasks that
come over its socket."""

import base64
import json
import os
import pickle
import signal
import socket
import sys
import traceback

import ray  # noqa: F401  (so that each fork has it)
from ray._standin import function, wire


def zygote(control):
    """Answer each request {cwd, log, node_id, address} and its file descriptor with the pid of a new worker."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, fds, _, _ = socket.recv_fds(control, 1 << 16, 1)
        if not message:
            return  # the raylet is gone
        request = json.loads(message)
        pid = os.fork()
        if pid == 0:
            control.close()
            become(request)
            work(socket.socket(fileno=fds[0]))
            os._exit(0)
        os.close(fds[0])
        control.send(str(pid).encode())


def become(request):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(request["cwd"])
    sys.path.insert(0, request["cwd"])
    os.environ.update(RAY_ADDRESS=request["address"], RAY_STANDIN_NODE_ID=request["node_id"])


def work(sock):
    while True:
        task = wire.receive(sock)
        if task is None:
            return
        wire.send(sock, run(task))


def run(task):
    os.environ.update(task["env"])
    try:
        f = function.unpack(task["function"])
        args, kwargs = pickle.loads(base64.b64decode(task["arguments"]))
        return {"value": base64.b64encode(pickle.dumps(f(*args, **kwargs))).decode()}
    except BaseException as e:  # also what a task exits with: the worker goes on, as its raylet expects an answer
        try:
            cause = base64.b64encode(pickle.dumps(e)).decode()
        except Exception:
            cause = None  # not everything that is raised can be sent
        return {"raised": traceback.format_exc(), "cause": cause}


if __name__ == "__main__":
    zygote(socket.socket(fileno=int(sys.argv[1])))

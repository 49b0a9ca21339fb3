"""A worker process: runs the tasks that its raylet hands it over the inherited socket."""

import base64
import os
import pickle
import socket
import sys
import traceback

from ray._standin import function, wire


def main():
    sock = socket.socket(fileno=int(sys.argv[1]))
    sys.path.insert(0, os.getcwd())
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
    main()

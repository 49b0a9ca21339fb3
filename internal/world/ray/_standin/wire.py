"""How processes of the stand-in speak with each other: frames of JSON over TCP, the token in each of them.

Ray uses gRPC, with the token in the metadata of each call; nothing outside the stand-in reads these frames.
"""

import json
import select
import socket
import struct
import threading

from ray import exceptions
from ray._standin import auth

LIMIT = 512 << 20  # bytes of a frame
ERRORS = {c.__name__: c for c in (exceptions.AuthenticationError, exceptions.RaySystemError, exceptions.WorkerCrashedError)}


def send(sock, obj):
    data = json.dumps(obj).encode()
    sock.sendall(struct.pack(">I", len(data)) + data)


def receive(sock):
    """The next frame, or None at the end."""
    head = exactly(sock, 4)
    if head is None:
        return None
    (length,) = struct.unpack(">I", head)
    if length > LIMIT:
        raise ValueError("a frame of %d bytes" % length)
    data = exactly(sock, length)
    return None if data is None else json.loads(data)


def exactly(sock, n):
    parts = []
    while n > 0:
        part = sock.recv(min(n, 1 << 20))
        if not part:
            return None
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


def split(address):
    """Host and port of "host:port" or "[v6]:port"."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("Malformed address %s. Expected '<host>:<port>'." % address)
    return host.strip("[]"), int(port)


def join(host, port):
    return "[%s]:%d" % (host, port) if ":" in host else "%s:%d" % (host, port)


class Connection:
    """A client of another process."""

    def __init__(self, address, token, timeout=5):
        self.sock = socket.create_connection(split(address), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.token = token

    def call(self, method, timeout=None, **arguments):
        self.sock.settimeout(timeout)
        send(self.sock, {"method": method, "token": self.token, "arguments": arguments})
        answer = receive(self.sock)
        if answer is None:
            raise ConnectionError("the connection was closed")
        if "error" in answer:
            raise ERRORS.get(answer.get("kind"), exceptions.RaySystemError)(answer["error"])
        return answer["result"]

    def close(self):
        self.sock.close()


def once(address, token, method, timeout=5, **arguments):
    """One call on a connection of its own."""
    c = Connection(address, token, timeout)
    try:
        return c.call(method, timeout, **arguments)
    finally:
        c.close()


def listen(host, port):
    """A listening socket. Like Ray's gRPC servers it listens on every interface, save for a node at 127.0.0.1
    (src/ray/rpc/grpc_server.cc)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if host != "127.0.0.1":
        host = "::" if family == socket.AF_INET6 else "0.0.0.0"
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind((host, port))
    except OSError as e:
        s.close()
        raise OSError(e.errno, "port %d: %s" % (port, e.strerror))
    s.listen(128)
    return s


class Peer:
    """The other side of a connection, as a handler sees it."""

    def __init__(self, sock):
        self.sock = sock
        self.on_close = []  # called when the connection ends

    def gone(self):
        readable, _, _ = select.select([self.sock], [], [], 0)
        try:
            return bool(readable) and not self.sock.recv(1, socket.MSG_PEEK)
        except OSError:
            return True


def serve(sock, handlers, token):
    """Answer calls for ever, each connection in a thread. A handler is f(peer, **arguments)."""

    def one(conn):
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(conn)
        try:
            while True:
                request = receive(conn)
                if request is None:
                    return
                send(conn, answer(peer, request))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not one of ours, or gone
        finally:
            conn.close()
            for f in peer.on_close:
                f()

    def answer(peer, request):
        if token is not None and not auth.equal(request["token"], token):
            return {"error": "InvalidAuthToken: the authentication token is missing or wrong", "kind": "AuthenticationError"}
        handler = handlers.get(request["method"])
        if handler is None:
            return {"error": "no method %r" % request["method"], "kind": "RaySystemError"}
        try:
            return {"result": handler(peer, **request["arguments"])}
        except exceptions.RayError as e:
            return {"error": str(e), "kind": type(e).__name__}

    while True:
        conn, _ = sock.accept()
        threading.Thread(target=one, args=(conn,), daemon=True).start()


def occupy(host, port):
    """Listen on a port that Ray has open and the stand-in has nothing to say on."""
    s = listen(host, port)

    def refuse():
        try:
            while True:
                conn, _ = s.accept()
                conn.close()
        except OSError:
            pass  # shut down

    threading.Thread(target=refuse, daemon=True).start()
    return s

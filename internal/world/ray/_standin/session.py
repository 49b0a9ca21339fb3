"""Directories and addresses of a node."""

import os
import socket
import time


def node_ip():
    """The address by which others reach this machine (services.get_node_ip_address); no packet is sent."""
    for family, target in ((socket.AF_INET, "8.8.8.8"), (socket.AF_INET6, "2001:4860:4860::8888")):
        s = socket.socket(family, socket.SOCK_DGRAM)
        try:
            s.connect((target, 80))
            return s.getsockname()[0]
        except OSError:
            continue
        finally:
            s.close()
    return "127.0.0.1"


def resolve(address):
    """services.resolve_ip_for_localhost: localhost and 127.0.0.1 become the reachable address of this machine."""
    host, sep, port = address.partition(":")
    if host in ("localhost", "127.0.0.1"):
        return node_ip() + sep + port
    return address


def make(temp_dir):
    """A new session directory with its logs, and session_latest pointing to it."""
    name = "session_%s_%06d_%d" % (time.strftime("%Y-%m-%d_%H-%M-%S"), int(time.time() % 1 * 1e6), os.getpid())
    path = os.path.join(temp_dir, name)
    os.makedirs(os.path.join(path, "logs"))
    latest = os.path.join(temp_dir, "session_latest")
    try:
        os.unlink(latest)
    except OSError:
        pass
    try:
        os.symlink(path, latest)
    except OSError:
        pass  # another node of this host was quicker
    return path


def ended(pid):
    """Whether a process is gone, or a zombie."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True

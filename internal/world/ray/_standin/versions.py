"""What this version of Ray has: options of `ray start`, HTTP paths, authentication."""

import importlib.util
import os
import pkgutil
import re

from ray._version import version as VERSION


def numbers(text):
    """The release numbers of a version: "2.52.0rc1" is (2, 52, 0)."""
    m = re.match(r"v?(\d+(?:\.\d+)*)", text)
    return tuple(int(x) for x in m.group(1).split(".")) if m else ()


RELEASE = numbers(VERSION)


def at_least(*release):
    return RELEASE >= release


def start_options():
    """Option name -> type, for the options of `ray start` that this version has.

    start_options.txt is the launcher's table (cluster/data/rayflags.txt); a test keeps the two equal.
    """
    data = pkgutil.get_data("ray._standin", "start_options.txt").decode()
    out = {}
    for line in data.splitlines():
        f = line.split()
        if len(f) != 4 or line.startswith("#"):
            continue
        last = numbers(f[2])
        if RELEASE >= numbers(f[1]) and (f[2] == "-" or RELEASE[: len(last)] <= last):
            out[f[0]] = f[3]
    return out


def has_default():
    """Whether ray[default] is installed; without it there is no HTTP at all (dashboard/head.py, "minimal")."""
    return not at_least(1, 3) or importlib.util.find_spec("aiohttp") is not None


def has_client():
    """Whether ray[client] is installed (check_ray_client_dependencies_installed looks for grpc)."""
    return at_least(1, 2) and importlib.util.find_spec("grpc") is not None


def has_auth():
    """Token authentication came with 2.52 (doc/source/ray-security/token-auth.md)."""
    return at_least(2, 52)


def env_number(name, default):
    """A RAY_… setting; Ray reads its RAY_CONFIG values from such variables (src/ray/common/ray_config_def.h)."""
    try:
        return float(os.environ.get(name, ""))
    except ValueError:
        return float(default)

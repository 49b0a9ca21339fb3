"""Command line of the stand-in ray (stand-in for tests; not Ray): start, stop, status, health-check, get-auth-token.

Options are those that this version of Ray has; an unknown one is refused as click refuses it. Commands came with 1.0 (status),
1.4 (health-check, ray#15429), 2.52 (get-auth-token).
"""

import os
import signal
import sys
import time

from ray import exceptions
from ray._standin import auth, dashboard, session, start, versions, wire

BANNER = "This is the stand-in ray %s for tests; it is not Ray." % versions.VERSION


class Usage(Exception):
    """Wrong usage: exit code 2."""


def parse(argv, kinds):
    """Options as click reads them: --name value, --name=value, flags; kinds maps a name to its type."""
    out, rest, i = {}, [], 0
    while i < len(argv):
        name, sep, value = argv[i].partition("=")
        i += 1
        if not name.startswith("-"):
            rest.append(argv[i - 1])
            continue
        kind = kinds.get(name)
        if kind is None:
            raise Usage("No such option: %s" % name)
        if kind == "flag":
            if sep:
                raise Usage("Option '%s' does not take a value." % name)
            out[name] = True
            continue
        if not sep:
            if i >= len(argv):
                raise Usage("Option '%s' requires an argument." % name)
            value = argv[i]
            i += 1
        out[name] = convert(name, value, kind)
    return out, rest


def convert(name, value, kind):
    try:
        if kind == "int" or kind == "float":
            return int(value) if kind == "int" else float(value)
    except ValueError:
        raise Usage("Invalid value for '%s': '%s' is not a valid %s." % (name, value, {"int": "integer", "float": "float"}[kind]))
    if kind == "bool":
        if value.lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"):
            raise Usage("Invalid value for '%s': '%s' is not a valid boolean." % (name, value))
        return value.lower() in ("true", "1", "yes", "on", "t", "y")
    return value


def command_start(argv):
    options, rest = parse(argv, versions.start_options())
    if rest:
        raise Usage("Got unexpected extra argument (%s)" % rest[0])
    print(BANNER, flush=True)
    node = start.start(options)
    print("Local node IP: %s\nRay runtime started." % wire.split(node.address)[0] if options.get("--head") else "Ray runtime started.")
    if options.get("--head"):
        print("To add another node: ray start --address='%s'" % node.address)
        if node.dashboard:
            print("Dashboard: http://%s" % node.dashboard)
    sys.stdout.flush()
    if options.get("--block"):
        print("--block: this command will now block forever until terminated by a signal.", flush=True)
        return start.block(node)
    return 0


def processes():
    """The stand-in's processes in this PID namespace, by pid; like `ray stop`, whosever they are."""
    out = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                words = f.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(w in ("ray._standin.raylet", "ray._standin.gcs_server") for w in words) and int(pid) != os.getpid():
            out[int(pid)] = words
    return out


def command_stop(argv):
    kinds = {"--force": "flag", "-f": "flag"}
    if versions.at_least(1, 12):
        kinds.update({"--grace-period": "int", "-g": "int"})
    options, _ = parse(argv, kinds)
    grace = options.get("--grace-period", options.get("-g", 16))
    found = processes()
    # Raylets first, the GCS last (scripts.py, stop).
    for pid in sorted(found, key=lambda p: "ray._standin.gcs_server" in found[p]):
        try:
            os.kill(pid, signal.SIGKILL if options.get("--force") or options.get("-f") else signal.SIGTERM)
        except ProcessLookupError:
            pass
    end = time.time() + grace
    while time.time() < end and any(not session.ended(p) for p in found):
        time.sleep(0.05)
    left = [p for p in found if not session.ended(p)]
    if not found:
        print("Did not find any active Ray processes.")
    else:
        print("Stopped %s %d Ray processes." % ("all" if not left else "only %d out of" % (len(found) - len(left)), len(found)))
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return 0


def address_of(options):
    return session.resolve(options.get("--address") or os.environ.get("RAY_ADDRESS") or "127.0.0.1:6379")


def command_status(argv):
    options, _ = parse(argv, {"--address": "str", "--redis_password": "str", "-v": "flag", "--verbose": "flag"})
    address, token = address_of(options), auth.token_for()
    gcs = wire.once(address, token, "check")
    if gcs["ray_version"] != versions.VERSION:
        raise start.Refused("Ray version mismatch: cluster has Ray version %s but local Ray version is %s" % (gcs["ray_version"], versions.VERSION))
    print(dashboard.status_text(wire.once(address, token, "nodes")))
    return 0


def command_health_check(argv):
    options, _ = parse(argv, {"--address": "str", "--redis_password": "str", "--component": "str", "--skip-version-check": "flag"})
    gcs = wire.once(address_of(options), auth.token_for(), "check")
    if not options.get("--skip-version-check") and gcs["ray_version"] != versions.VERSION:
        raise start.Refused("Ray version mismatch: cluster has Ray version %s but local Ray version is %s" % (gcs["ray_version"], versions.VERSION))
    return 0


def command_get_auth_token(argv):
    options, _ = parse(argv, {"--generate": "flag"})
    if options.get("--generate"):
        auth.generate()
    token = auth.find_token()
    if token is None:
        raise start.Refused("No authentication token found. Use --generate to create one.")
    print(token)
    return 0


def commands():
    out = {"start": command_start, "stop": command_stop}
    if versions.at_least(1, 0):
        out["status"] = command_status
    if versions.at_least(1, 4):
        out["health-check"] = command_health_check
    if versions.has_auth():
        out["get-auth-token"] = command_get_auth_token
    return out


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if argv == ["--version"]:
        print("ray, version " + versions.VERSION)  # the form that click gives Ray's own
        return 0
    known = commands()
    if not argv or argv[0] in ("--help", "-h"):
        print("Usage: ray [OPTIONS] COMMAND [ARGS]...\n\n  %s\n\nCommands:\n  %s" % (BANNER, "\n  ".join(sorted(known))), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    name = argv[0]
    try:
        if name not in known:
            raise Usage("No such command '%s'." % name)
        if "--help" in argv[1:]:
            print("Usage: ray %s [OPTIONS]\n\n  %s\n" % (name, BANNER))
            if name == "start":
                print("Options:\n  " + "\n  ".join(sorted(versions.start_options())))
            return 0
        return known[name](argv[1:])
    except Usage as e:
        usage = "ray" if name not in known else "ray " + name
        print("Usage: %s [OPTIONS]\nTry '%s --help' for help.\n\nError: %s" % (usage, usage, e), file=sys.stderr)
        return 2
    except (start.Refused, exceptions.RayError, OSError, ValueError) as e:
        print("%s: %s" % (type(e).__name__ if not isinstance(e, start.Refused) else "RuntimeError", e), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

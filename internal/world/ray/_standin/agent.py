"""The dashboard agent of each node: health over HTTP on port 52365 (python/ray/dashboard/http_server_agent.py)."""

import re

from ray._standin import http, versions, wire


def start(raylet):
    c = raylet.config
    if "metrics_export_port" in c:
        serve(raylet, [c["node_ip"]], "metrics_export_port", [("GET", re.compile("/metrics"), lambda r: metrics(raylet))], None)
    if "agent_listen_port" not in c or not versions.has_default():
        return
    routes = []
    if versions.at_least(2, 0):
        routes.append(("GET", re.compile("/api/local_raylet_healthz"), lambda r: (200, "success") if raylet.alive else (503, "raylet: not healthy")))
    if versions.at_least(2, 53):
        routes.append(("GET", re.compile("/api/healthz"), lambda r: healthz(raylet)))
    # The agent listens on the node's address and on 127.0.0.1, nowhere else. An address that is not this machine's leaves the
    # agent alive without HTTP: that is why port mapping does not work.
    hosts = [c["node_ip"]] + (["127.0.0.1"] if c["node_ip"] != "127.0.0.1" else [])
    serve(raylet, hosts, "agent_listen_port", routes, raylet.token)


def serve(raylet, hosts, key, routes, token):
    handler = type("AgentHandler", (http.Handler,), {"routes": routes, "token": token, "agent": True})
    for host in hosts:
        try:
            server = http.Server(host, raylet.config[key], handler).start()
        except OSError as e:
            if e.errno == 98:  # in use
                raise OSError(e.errno, "port %d: %s" % (raylet.config[key], e.strerror))
            print("agent: no HTTP on %s: %s" % (host, e.strerror), flush=True)
            continue
        raylet.config[key] = server.server_address[1]


def healthz(raylet):
    lines = ["raylet: success" if raylet.alive else "raylet: not healthy"]
    healthy = raylet.alive
    if raylet.config["head"]:
        try:
            wire.once(raylet.config["gcs_address"], raylet.token, "check", timeout=2)
            lines.append("gcs: success")
        except OSError:
            lines.append("gcs: not healthy")
            healthy = False
    else:
        lines.append("gcs: success (no local gcs)")
    return (200 if healthy else 503), "\n".join(lines)


def metrics(raylet):
    out = ["# stand-in for tests; not Ray"]
    for k, v in sorted(raylet.config["resources"].items()):
        out.append('ray_resources{Name="%s",NodeAddress="%s"} %g' % (k, raylet.config["node_ip"], v))
    return 200, "\n".join(out) + "\n"

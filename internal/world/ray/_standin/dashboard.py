"""The head's HTTP API (python/ray/dashboard). Paths and answers that a launcher uses, each from the version that brought it:
/api/version and the jobs API 1.9 (ray#20622), /api/gcs_healthz 2.0 (ray#26408), the state API 2.0, /api/cluster_status 1.1
(ray#11456), /api/authentication_mode 2.52."""

import base64
import re
import socket

from ray._standin import http, jobs, versions

NODE_KEYS = ("node_id", "node_ip", "is_head_node", "state", "state_message", "node_name", "resources_total", "labels", "start_time_ms", "end_time_ms")


class Dashboard:
    def __init__(self, gcs, address, token):
        self.gcs, self.address, self.token = gcs, address, token
        self.jobs = jobs.Jobs(gcs.session, address, self.head_id, gcs.packages)

    def head_id(self):
        return next((n["node_id"] for n in self.gcs.alive() if n["is_head_node"]), None)

    def routes(self):
        all_routes = [
            ((0, 8), "GET", "/", lambda r: (200, "Stand-in dashboard. Stand-in for tests; not Ray.\n")),
            ((1, 0), "GET", "/nodes", self.nodes),
            ((1, 0), "GET", "/nodes/([0-9a-f]+)", self.node),
            ((1, 1), "GET", "/api/cluster_status", self.cluster_status),
            ((1, 9), "GET", "/api/version", self.version),
            ((1, 9), "GET", "/api/jobs/", lambda r: (200, [self.jobs.shown(j) for j in self.jobs.jobs.values()])),
            ((1, 9), "POST", "/api/jobs/", self.submit),
            ((1, 9), "GET", "/api/jobs/([^/]+)", self.with_job(lambda r, j: (200, self.jobs.shown(j)))),
            ((1, 9), "GET", "/api/jobs/([^/]+)/logs", self.with_job(lambda r, j: (200, {"logs": self.jobs.read(j)}))),
            ((1, 9), "POST", "/api/jobs/([^/]+)/stop", self.with_job(lambda r, j: (200, {"stopped": self.jobs.stop(j)}))),
            ((2, 3), "DELETE", "/api/jobs/([^/]+)", self.with_job(self.delete)),
            ((1, 9), "GET", "/api/packages/(gcs)/([A-Za-z0-9_.-]+)", self.has_package),
            ((1, 9), "PUT", "/api/packages/(gcs)/([A-Za-z0-9_.-]+)", self.put_package),
            ((2, 0), "GET", "/api/gcs_healthz", lambda r: (200, "success")),
            ((2, 0), "GET", "/api/v0/nodes", self.state_nodes),
            ((2, 0), "GET", "/api/v0/cluster_metadata", lambda r: (200, {"result": True, "msg": "", "data": self.gcs.check(None)})),
            ((2, 52), "GET", "/api/authentication_mode", lambda r: (200, {"authentication_mode": "token" if self.token else "disabled"})),
        ]
        old = [((0, 8), "GET", "/api/node_info", self.nodes), ((0, 8), "GET", "/api/ray_config", lambda r: (200, {"result": {}, "error": None}))]
        if not versions.at_least(1, 0):
            all_routes += old
        return [(method, re.compile(path), f) for since, method, path, f in all_routes if versions.at_least(*since)]

    def start(self, host, port):
        handler = type("DashboardHandler", (http.Handler,), {"routes": self.routes(), "token": self.token})
        return http.Server(host, port, handler).start()

    def with_job(self, f):
        def found(request, name):
            job = self.jobs.jobs.get(name)
            return f(request, job) if job else (404, "Job %s does not exist" % name)

        return found

    def submit(self, request):
        body = request.json()
        if body is None:
            return 400, "the body is not a JSON object"
        try:
            name = self.jobs.submit(body)
        except ValueError as e:
            return 400, str(e)
        return 200, {"job_id": name, "submission_id": name}

    def delete(self, _, job):
        if not self.jobs.delete(job):
            return 500, "Job %s is not in a terminal state" % job["submission_id"]
        return 200, {"deleted": True}

    def has_package(self, _, protocol, name):
        del protocol
        return (200, "") if name in self.gcs.packages else (404, "Package %s does not exist" % name)

    def put_package(self, request, protocol, name):
        del protocol
        if not request.body.startswith(b"PK"):
            return 500, "the package is not a zip archive"
        self.gcs.packages[name] = base64.b64encode(request.body).decode()
        return 200, ""

    def version(self, _):
        return 200, {"version": "4", "ray_version": versions.VERSION, "ray_commit": "stand-in, not Ray", "session_name": self.gcs.session.rsplit("/", 1)[-1]}

    def state_nodes(self, request):
        """The state API; the client reads data.result.result (python/ray/util/state)."""
        rows = [{k: n[k] for k in NODE_KEYS} for n in self.gcs.list()]
        total = len(rows)
        rows = rows[: int(request.query.get("limit", "100") or 100)] if request.query.get("limit", "100").isdigit() else rows
        return 200, {"result": True, "msg": "", "data": {"result": {"total": total, "num_after_truncation": len(rows), "num_filtered": len(rows),
                                                                  "result": rows, "partial_failure_warning": "", "warnings": None}}}

    def summary(self, n):
        return {"hostname": n["hostname"], "ip": n["node_ip"], "cpu": 0.0, "cpus": [int(n["resources_total"].get("CPU", 0))] * 2, "mem": [0, 0, 0.0, 0],
                "raylet": {"state": n["state"], "nodeId": n["node_id"], "isHeadNode": n["is_head_node"], "nodeManagerAddress": n["node_ip"],
                           "nodeManagerPort": n["node_manager_port"], "nodeName": n["node_name"], "stateMessage": n["state_message"] or None,
                           "resourcesTotal": n["resources_total"], "labels": n["labels"]}}

    def nodes(self, request):
        view = request.query.get("view")
        if view == "hostNameList":
            return 200, {"result": True, "msg": "Node hostname list fetched.", "data": {"hostNameList": [n["hostname"] for n in self.gcs.alive()]}}
        if view not in (None, "summary"):
            return 500, {"result": False, "msg": "Unknown view %s" % view, "data": {}}
        listed = self.gcs.list()
        return 200, {"result": True, "msg": "Node summary fetched.", "data": {
            "summary": [self.summary(n) for n in listed], "nodeLogicalResources": {n["node_id"]: status_resources([n]) for n in listed}}}

    def node(self, _, node_id):
        n = next((n for n in self.gcs.list() if n["node_id"] == node_id), None)
        if n is None:
            return 404, {"result": False, "msg": "Node %s not found" % node_id, "data": {}}
        return 200, {"result": True, "msg": "Node details fetched.", "data": {"detail": self.summary(n)}}

    def cluster_status(self, request):
        text = status_text(self.gcs.list())
        if request.query.get("format") == "1":
            return 200, {"result": True, "msg": "Got formatted cluster status.", "data": {"clusterStatus": text}}
        return 200, {"result": True, "msg": "Got cluster status.", "data": {"autoscalingStatus": None, "autoscalingError": None, "clusterStatus": {
            "loadMetricsReport": {"usage": used(self.gcs.alive())}, "autoscalerReport": {"activeNodes": {"node": len(self.gcs.alive())}}}}}


def used(nodes):
    """Resource -> [used, total], without the marks of single nodes."""
    out = {}
    for n in nodes:
        for k, v in n["resources_total"].items():
            if not k.startswith("node:"):
                pair = out.setdefault(k, [0, 0])
                pair[0] += v - n["free"].get(k, 0)
                pair[1] += v
    return out


def status_resources(nodes):
    lines = []
    for k, (u, t) in sorted(used(nodes).items()):
        if k in ("memory", "object_store_memory"):
            lines.append(" %.2fGiB/%.2fGiB %s" % (u / 2**30, t / 2**30, k))
        else:
            lines.append(" %.1f/%.1f %s" % (u, t, k))
    return "\n".join(lines)


def status_text(nodes):
    """The text of `ray status` (python/ray/autoscaler/_private/util.py, format_info_string)."""
    alive = [n for n in nodes if n["state"] == "ALIVE"]
    dead = [n for n in nodes if n["state"] != "ALIVE"]
    active = "\n".join(" 1 node_%s" % n["node_id"] for n in alive) or " (no active nodes)"
    failures = "\n".join(" node_%s: %s" % (n["node_id"], n["state_message"]) for n in dead) or " (no failures)"
    return ("======== Autoscaler status (stand-in, not Ray: %s) ========\nNode status\n%s\nActive:\n%s\nPending:\n (no pending nodes)\nRecent failures:\n%s\n\n"
            "Resources\n%s\nTotal Usage:\n%s\n\nTotal Demands:\n (no resource demands)\n" % (socket.gethostname(), "-" * 63, active, failures, "-" * 63, status_resources(alive)))

"""The head's process: GCS, dashboard, jobs, and what else listens on a head."""

import json
import os
import signal
import sys

from ray import exceptions
from ray._standin import auth, dashboard, gcs, versions, wire


def main():
    c = json.loads(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        token = auth.token_for(head=True)
        server = wire.listen(c["node_ip"], c["port"])
        address = wire.join(c["node_ip"], server.getsockname()[1])
        for port in c["other_ports"]:  # Ray Client, Redis shards, the old GCS port
            wire.occupy(c["node_ip"], port)
        store = gcs.Gcs(c["session"])
        web = None
        if c["include_dashboard"] is not False and versions.has_default():
            try:
                web = dashboard.Dashboard(store, address, token).start(c["dashboard_host"], c["dashboard_port"]).server_address
            except OSError as e:
                # Unless --include-dashboard=true is explicit, Ray logs this and runs without (node.py, start_api_server).
                if c["include_dashboard"]:
                    raise
                print("dashboard: port %d: %s" % (c["dashboard_port"], e.strerror), flush=True)
    except (OSError, exceptions.RayError) as e:
        print("gcs_server: %s" % e, file=sys.stderr)
        return 1
    print("ready " + json.dumps({"address": address, "dashboard": wire.join(*web[:2]) if web else ""}), flush=True)
    wire.serve(server, store.handlers(), token)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the dashboard's and the agents' HTTP servers have in common."""

import http.server
import json
import socket
import threading
import urllib.parse

from ray._standin import auth

MAX_BODY = 100 << 20  # Ray refuses larger working directories, too (100 MiB)


class Handler(http.server.BaseHTTPRequestHandler):
    """Routes are functions f(request, *groups) that return (status, body); a body that is no text becomes JSON."""

    protocol_version = "HTTP/1.1"
    server_version = "stand-in"
    routes = ()  # (method, compiled pattern, function)
    token = None
    agent = False

    def handle_any(self):
        url = urllib.parse.urlsplit(self.path)
        self.query = {k: v[-1] for k, v in urllib.parse.parse_qs(url.query).items()}
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if length < 0 or length > MAX_BODY:
            self.close_connection = True
            return self.answer(413, "too large")
        self.body = self.rfile.read(length)
        if auth.from_browser(self.headers) and (self.agent or self.command != "GET"):
            # optional_utils.py: the agent refuses browsers altogether, the dashboard all that is not GET.
            return self.answer(403 if self.agent else 405, "Browser requests are not allowed")
        refused = auth.http_error(self.headers, url.path, self.token)
        if refused:
            return self.answer(*refused)
        for method, pattern, function in self.routes:
            m = pattern.fullmatch(url.path)
            if m and method == self.command:
                return self.answer(*function(self, *[urllib.parse.unquote(g) for g in m.groups()]))
        return self.answer(404, "404: Not Found")

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

    def answer(self, status, body):
        if isinstance(body, str):
            kind, data = "text/plain; charset=utf-8", body.encode()
        else:
            kind, data = "application/json; charset=utf-8", json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def json(self):
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host, port, handler):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is no news

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

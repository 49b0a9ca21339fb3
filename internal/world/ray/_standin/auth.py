"""Token authentication, as doc/source/ray-security/token-auth.md describes it."""

import hmac
import os
import secrets

from ray import exceptions
from ray._standin import versions

# Paths that need no token (python/ray/dashboard, authentication constants).
PUBLIC = ("/", "/favicon.ico", "/api/authentication_mode", "/api/authenticate", "/api/healthz", "/api/gcs_healthz",
          "/api/local_raylet_healthz", "/-/healthz")
DEFAULT_PATH = "~/.ray/auth_token"


def find_token():
    """RAY_AUTH_TOKEN, then the file RAY_AUTH_TOKEN_PATH, then ~/.ray/auth_token; None when there is none."""
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    if token:
        return token
    path = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    if path:
        try:
            with open(path) as f:
                token = f.read().strip()
        except OSError as e:
            raise exceptions.AuthenticationError("RAY_AUTH_TOKEN_PATH %s cannot be read: %s" % (path, e.strerror))
        if not token:
            raise exceptions.AuthenticationError("RAY_AUTH_TOKEN_PATH %s is empty" % path)
        return token
    try:
        with open(os.path.expanduser(DEFAULT_PATH)) as f:
            return f.read().strip() or None
    except OSError:
        return None


def token_for(head=False):
    """The token to use, or None where authentication is off.

    2.52 to 2.58 are off unless RAY_AUTH_MODE=token; from 2.59 a head turns it on when it finds a token (ray#64755).
    """
    if not versions.has_auth():
        return None
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    if mode not in ("", "disabled", "token"):
        raise exceptions.AuthenticationError("RAY_AUTH_MODE=%s: must be disabled or token" % mode)
    if mode == "disabled" or (mode == "" and not (head and versions.at_least(2, 59))):
        return None
    token = find_token()
    if token is None and mode == "token":
        raise exceptions.AuthenticationError(
            "Token authentication is enabled but no authentication token was found. Set RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH, or run `ray get-auth-token --generate`.")
    return token


def generate():
    """Make ~/.ray/auth_token if there is none; `ray get-auth-token --generate` never overwrites."""
    path = os.path.expanduser(DEFAULT_PATH)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(fd, "w") as f:
        f.write(secrets.token_hex(32))


def equal(a, b):
    return hmac.compare_digest((a or "").encode(), (b or "").encode())


def http_error(headers, path, token):
    """None, or the status and text that refuse a request: 401 without a token, 403 with a wrong one."""
    if token is None or path in PUBLIC or path.startswith("/static/"):
        return None
    given = None
    for name in ("Authorization", "X-Ray-Authorization"):
        value = headers.get(name, "")
        if value.startswith("Bearer "):
            given = value[len("Bearer "):].strip()
            break
    if given is None:
        for part in headers.get("Cookie", "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == "ray-authentication-token":
                given = value
    if not given:
        return 401, "Unauthorized: Missing authentication token"
    if not equal(given, token):
        return 403, "Forbidden: Invalid authentication token"
    return None


def from_browser(headers):
    """is_browser_request of dashboard/optional_utils.py: the answer to CVE-2025-62593, in 2.52 and later."""
    if not versions.at_least(2, 52):
        return False
    if headers.get("User-Agent", "").startswith("Mozilla"):
        return True
    return any(k.lower() in ("origin", "referer") or k.lower().startswith("sec-fetch-") for k in headers.keys())

# env-replaced PREFIX DIST...: removes the files of packages of conda's in whose place wheels come, as pip does before
# it installs another version. What conda notes of them stays, as with pip: conda sees by itself that they are gone.
prefix=$2
shift 3
"$prefix/bin/python" -B -S - "$prefix" "$@" <<'PY'
import json, os, sys

prefix, dirs = sys.argv[1], set()
for dist in sys.argv[2:]:
    with open(os.path.join(prefix, "conda-meta", dist + ".json")) as f:
        files = json.load(f)["files"]
    for name in files:
        path = os.path.join(prefix, name)
        if os.path.lexists(path):
            os.unlink(path)
        path = os.path.dirname(path)
        while len(path) > len(prefix):
            dirs.add(path)
            path = os.path.dirname(path)
# The deepest first. Byte code that conda made beside a list of files is no reason to keep a directory.
for path in sorted(dirs, key=len, reverse=True):
    if os.path.basename(path) == "__pycache__":
        for name in os.listdir(path):
            if not os.path.exists(os.path.join(os.path.dirname(path), name.split(".")[0] + ".py")):
                os.unlink(os.path.join(path, name))
    if not os.listdir(path):
        os.rmdir(path)
PY
settle "$prefix"

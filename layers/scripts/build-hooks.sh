# build-hooks OUT PYTHON SOURCE WHEELS: asks a source distribution's build
# backend what the build needs beside what pyproject.toml lists, where the
# wheels of that list are installed and nothing else. $BACKEND says in JSON
# which backend it is, and where the project is in the archive.
out=$1 python=$2 source=$3 wheels=$4
mkdir -p "$HOME" "$TMPDIR/source"
"$python" -m venv --without-pip "$TMPDIR/venv"
pip=$("$python" -c 'import os, pip; print(os.path.dirname(pip.__file__))')
set -- "$wheels"/*.whl
if [ -e "$1" ]; then
	"$TMPDIR/venv/bin/python" "$pip" install --no-index --no-deps --ignore-installed --no-cache-dir \
		--disable-pip-version-check "$@" >"$out/log" 2>&1 || { echo install >"$out/failed"; exit 0; }
fi
PATH=$TMPDIR/venv/bin:$PATH
"$TMPDIR/venv/bin/python" - "$source" "$out/requires.json" >"$out/log" 2>&1 <<'PY' || echo hook >"$out/failed"
import importlib, json, os, sys, tarfile, zipfile

backend = json.loads(os.environ["BACKEND"])
work = os.path.join(os.environ["TMPDIR"], "source")
source, answer = sys.argv[1:]
with (zipfile.ZipFile(source) if source.endswith(".zip") else tarfile.open(source)) as archive:
    archive.extractall(work)
tops = os.listdir(work)
project = os.path.join(work, tops[0] if len(tops) == 1 else "", backend["below"])
os.chdir(project)
sys.argv = ["setup.py"]
sys.path[:0] = [os.path.join(project, path) for path in backend["path"]]
name, _, attributes = backend["name"].partition(":")
hooks = importlib.import_module(name)
for attribute in filter(None, attributes.split(".")):
    hooks = getattr(hooks, attribute)
ask = getattr(hooks, "get_requires_for_build_wheel", None)
with open(answer, "w") as out:
    json.dump(list(ask()) if ask else [], out)
PY

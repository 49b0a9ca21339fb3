# build-needs OUT PYTHON SOURCES: for each source distribution, what its build
# asks for, and whether it holds code for a compiler. $SUBDIRECTORIES says in
# JSON where the projects are in files that have them below their top.
mkdir -p "$HOME"
"$2" - "$3" >"$1/needs.json" <<'PY'
import io, json, os, sys, tarfile, zipfile

try:
    import tomllib as toml
except ImportError:
    try:
        from pip._vendor import tomli as toml
    except ImportError:
        from pip._vendor import toml

below = json.loads(os.environ["SUBDIRECTORIES"])
compiled = (".c", ".cc", ".cpp", ".cxx", ".pyx", ".f", ".f90", ".rs")


def members(path):
    if path.endswith(".zip"):
        with zipfile.ZipFile(path) as z:
            for name in z.namelist():
                yield name, (lambda n=name: z.read(n))
    else:
        with tarfile.open(path) as t:
            for m in t:
                if m.isfile():
                    yield m.name, (lambda m=m: t.extractfile(m).read())


needs = {}
for name in sorted(os.listdir(sys.argv[1])):
    requires, native = ["setuptools", "wheel"], False
    backend, path = "setuptools.build_meta:__legacy__", []
    project = os.path.join(below.get(name, ""), "pyproject.toml")
    for member, read in members(os.path.join(sys.argv[1], name)):
        native = native or member.endswith(compiled)
        if member.partition("/")[2] == project:
            system = toml.loads(read().decode()).get("build-system", {})
            requires = system.get("requires", requires)
            backend, path = system.get("build-backend", backend), system.get("backend-path", path)
    needs[name] = {"requires": requires, "native": native, "backend": backend, "path": path}
json.dump(needs, sys.stdout)
PY

# pip-resolve OUT PYTHON REQUIREMENTS CONSTRAINTS OPTION...: asks pip which
# files the requirements need on top of what the environment has.
out=$1 python=$2 requirements=$3 constraints=$4
shift 4
mkdir -p "$HOME"
export PIP_CONFIG_FILE=/dev/null
"$python" -m pip --version >"$out/version"
"$python" -m pip list --format=json --disable-pip-version-check >"$out/installed.json" 2>/dev/null
"$python" - "$out/installed.json" >"$TMPDIR/constraints" <<'PY'
import json, os, re, sys
free = os.environ.get("FREE", "").split()
for dist in json.load(open(sys.argv[1])):
    if re.sub("[-_.]+", "-", dist["name"]).lower() not in free:
        print("%s==%s" % (dist["name"], dist["version"]))
PY
cat "$constraints" >>"$TMPDIR/constraints"
if "$python" -m pip install --help | grep -q -e --report; then
	set -- install --dry-run --report "$out/report.json" "$@"
else
	# pip before 22.2 has no report; what it would install is what it downloads.
	mkdir "$out/files"
	set -- download -d "$out/files" "$@"
fi
"$python" -m pip "$@" -r "$requirements" -c "$TMPDIR/constraints" \
	--index-url http://pypi.org/simple --trusted-host pypi.org --trusted-host files.pythonhosted.org \
	--disable-pip-version-check --no-input --no-cache-dir --log "$out/log" >"$out/stdout" 2>"$out/stderr" || echo $? >"$out/failed"
# Digests and names are enough: the files went through raybuild's own hands.
if [ -d "$out/files" ]; then
	(cd "$out/files" && sha256sum -- * >"$out/sums")
	rm -rf "$out/files"
fi

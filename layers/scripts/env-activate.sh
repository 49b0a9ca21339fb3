# env-activate CONDA PREFIX: notes which variables packages of the environment want when it is activated, by their
# scripts in activate.d and their lists in env_vars.d. Shells and steps read the note: they need no bash, as many of
# these scripts do, and have the same variables every time.
mkdir -p "$2/etc/raybuild"
"$2/bin/python" -B -S - "$1" "$2" "$TMPDIR/activated" <<'PY'
import json, os, re, subprocess, sys

conda, prefix, after = sys.argv[1:4]
HOME = "/raybuild/no/home"  # nobody's: a variable that holds it is left out
SHELL = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
SCRIPT = """
_raybuild_prefix=$1 _raybuild_after=$2
trap 'env -0 >"$_raybuild_after"' EXIT
for _raybuild_script in "$_raybuild_prefix"/etc/conda/activate.d/*.sh; do
	[ ! -e "$_raybuild_script" ] || . "$_raybuild_script"
done
"""
path = ":".join([prefix + "/bin", conda + "/condabin", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
base = {"PATH": path, "HOME": HOME, "CONDA_PREFIX": prefix, "CONDA_DEFAULT_ENV": os.path.basename(prefix),
        "CONDA_SHLVL": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
listed = {}
lists = os.path.join(prefix, "etc", "conda", "env_vars.d")
for name in sorted(os.listdir(lists)) if os.path.isdir(lists) else []:
    with open(os.path.join(lists, name), encoding="utf-8") as f:
        listed.update((k, str(v)) for k, v in json.load(f).items())
subprocess.call([SHELL, "-c", SCRIPT, "activate", prefix, after], env=dict(base, **listed), stdin=subprocess.DEVNULL,
                stdout=sys.stderr)
with open(after, "rb") as f:
    text = f.read().decode("utf-8", "surrogateescape")
found = dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)


def quoted(value):
    return "'" + value.replace("'", "'\"'\"'") + "'"


lines = ["# Written by raybuild: what conda activate sets for packages of the environment. What is set already stays."]
for name, value in sorted(found.items()):
    own = name in ("_", "PWD", "OLDPWD", "SHLVL") or name.startswith(("CONDA_BACKUP_", "_raybuild_"))
    if own or not re.match(r"[A-Za-z_][A-Za-z0-9_]*\Z", name) or base.get(name) == value or HOME in value:
        continue
    if name == "PATH":
        if value.endswith(":" + path):
            lines.append("export PATH=%s$PATH" % quoted(value[:-len(path)]))
    elif name not in base:
        lines.append('[ -n "${%s+set}" ] || export %s=%s' % (name, name, quoted(value)))
with open(os.path.join(prefix, "etc", "raybuild", "activate.sh"), "wb") as f:
    f.write(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
PY
settle "$2"

# Installs wheels: python -c PROGRAM WHEELS OUT. Below OUT the
# environment's own path is repeated. The files are those that pip installs
# (docs/design.md says why it is not pip that does it), and the byte code
# depends on nothing but the source: serial, sorted, checked by hash where
# python can (3.7), else by the source's time, which is fixed.
# Formats: packaging.python.org, "Binary distribution format", "Recording
# installed projects" and "Entry points specification".
import base64, compileall, csv, hashlib, io, os, py_compile, re, sys, sysconfig, zipfile

FIXED = 315532800
SCRIPT = """# -*- coding: utf-8 -*-
import re
import sys
from {module} import {name}
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit({call}())
"""


class Wheel:
    def __init__(self, path, out):
        self.archive, self.out = zipfile.ZipFile(path), out
        self.files = [i for i in self.archive.infolist() if not i.filename.endswith("/")]
        tops = sorted({i.filename.split("/")[0] for i in self.files})
        infos = [t for t in tops if t.endswith(".dist-info")]
        if len(infos) != 1:
            raise ValueError("it has %d .dist-info directories, not one" % len(infos))
        self.info = infos[0]
        self.name = re.sub(r"[-_.]+", "-", self.info.split("-")[0]).lower()
        about = dict(re.findall(r"(?m)^([\w-]+):\s*(.*?)\s*$", self.text("WHEEL")))
        if about.get("Wheel-Version", "1.0").split(".")[0] != "1":
            raise ValueError("its Wheel-Version is %s, not 1.x" % about["Wheel-Version"])
        pure = about.get("Root-Is-Purelib", "").lower() == "true"
        self.paths = sysconfig.get_paths()
        self.lib = self.paths["purelib" if pure else "platlib"]
        self.places = {}  # name in the archive: place in the environment
        self.changed = {}  # place: (digest, size), where they are not those of the archive's RECORD

    def text(self, name):
        return self.archive.read(self.info + "/" + name).decode("utf-8")

    def has(self, name):
        return any(i.filename == self.info + "/" + name for i in self.files)

    def place(self, name):
        """Where a file of the archive belongs, and whether it is a script."""
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise ValueError("it has a file named %r" % name)
        top, _, rest = name.partition("/")
        if not top.endswith(".data"):
            return os.path.join(self.lib, name), False
        kind, _, rest = rest.partition("/")
        roots = dict(self.paths, headers=os.path.join(self.paths["include"], self.name))
        if kind not in ("purelib", "platlib", "headers", "scripts", "data") or not rest:
            raise ValueError("it has a file named %r" % name)
        return os.path.join(roots[kind], rest), kind == "scripts"

    def write(self, place, data, executable, changed):
        path = self.out + place
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        with open(path, "wb") as f:
            f.write(data)
        if executable:
            os.chmod(path, 0o755)
        os.utime(path, (FIXED, FIXED))
        if changed:
            sum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode("ascii").rstrip("=")
            self.changed[place] = ("sha256=" + sum, str(len(data)))

    def commands(self):
        """The console and gui scripts that its entry points ask for."""
        out, section = {}, ""
        if not self.has("entry_points.txt"):
            return out
        for line in self.text("entry_points.txt").splitlines():
            line = line.strip()
            if line.startswith("["):
                section = line.strip("[] ")
            elif line and line[0] not in "#;" and section in ("console_scripts", "gui_scripts"):
                name, _, value = line.partition("=")
                found = re.match(r"([\w.]+)\s*:\s*([\w.]+)\s*(\[.*\])?$", value.strip())
                if not found or "/" in name:
                    raise ValueError("its entry point %r is none that can be called" % line)
                out[name.strip()] = found.group(1, 2)
        if self.name == "pip" and "pip" in out:  # has names by version, not those of its archive
            out = {n: v for n, v in out.items() if not re.match(r"pip(\d+(\.\d+)?)?$", n)}
            for n in ("pip", "pip%d" % sys.version_info[0], "pip%d.%d" % sys.version_info[:2]):
                out[n] = ("pip._internal.cli.main", "main")
        return out

    def shebang(self):
        line = "#!" + sys.executable + "\n"
        if len(line) > 127 or " " in sys.executable:  # more than kernels read
            line = "#!/bin/sh\n'''exec' " + sys.executable + " \"$0\" \"$@\"\n' '''\n"
        return line.encode("utf-8")

    def unpack(self, commands):
        for i in self.files:
            place, script = self.place(i.filename)
            if script:
                name = re.sub(r"(?i)(\.exe|-script\.py|\.pya)$", "", os.path.basename(place))
                if name in commands:
                    continue  # the entry point's own comes in its place
            data = self.archive.read(i)
            fixed = script and data.startswith(b"#!python")
            if fixed:
                data = self.shebang() + data.partition(b"\n")[2]
            mode = i.external_attr >> 16
            self.write(place, data, mode & 0o170000 == 0o100000 and mode & 0o111 != 0, fixed)
            self.places[i.filename] = place

    def record(self):
        """RECORD is written anew: places instead of names, and what was generated."""
        relative = lambda place: os.path.relpath(place, self.lib)
        places, rows = dict(self.places), []
        changed = dict(self.changed)
        for row in csv.reader(io.StringIO(self.text("RECORD"))):
            if not row:
                continue
            place = places.pop(row[0], None)
            if place in changed:
                rows.append((relative(place),) + changed.pop(place))
            else:
                rows.append((relative(place) if place else row[0], row[1] if len(row) > 1 else "", row[2] if len(row) > 2 else ""))
        rows += [(relative(place),) + sums for place, sums in changed.items()]
        rows += [(relative(place), "", "") for place in places.values() if place not in self.changed]
        text = io.StringIO(newline="")
        csv.writer(text).writerows(sorted(rows))
        self.write(os.path.join(self.lib, self.info, "RECORD"), text.getvalue().encode("utf-8"), False, False)

    def install(self):
        commands = self.commands()
        self.unpack(commands)
        for name, (module, call) in sorted(commands.items()):
            text = SCRIPT.format(module=module, name=call.split(".")[0], call=call)
            self.write(os.path.join(self.paths["scripts"], name), self.shebang() + text.encode("utf-8"), True, True)
        # What pip list and pip uninstall ask for.
        self.write(os.path.join(self.lib, self.info, "INSTALLER"), b"pip\n", False, True)
        self.write(os.path.join(self.lib, self.info, "REQUESTED"), b"", False, True)
        self.record()


def install_all(wheels, out):
    for name in sorted(os.listdir(wheels)):
        try:
            Wheel(os.path.join(wheels, name), out).install()
        except Exception as e:
            sys.exit("install wheel %s: %s: %s" % (name, type(e).__name__, e))


def compile_all(out):
    """False where a file is no python of this version; pip installs those without byte code, and so do we."""
    mode = {}
    if sys.version_info >= (3, 7):
        mode["invalidation_mode"] = py_compile.PycInvalidationMode.UNCHECKED_HASH
    site = sysconfig.get_paths()["purelib"]
    return not os.path.isdir(out + site) or compileall.compile_dir(out + site, ddir=site, quiet=1, **mode)


# What a process has seen before shows in the byte code that it writes; so
# another one unpacks.
child = os.fork()
if child == 0:
    install_all(sys.argv[1], sys.argv[2])
    sys.exit(0)
if os.waitpid(child, 0)[1] != 0:
    sys.exit(1)
if not compile_all(sys.argv[2]):
    sys.exit(3)

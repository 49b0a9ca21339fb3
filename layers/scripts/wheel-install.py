# Installs wheels: python -c PROGRAM WHEELS OUT. Below OUT the
# environment's own path is repeated. The files are those that pip installs
# (docs/design.md says why it is not pip that does it), and the byte code
# depends on nothing but the source: serial, sorted, checked by hash where
# python can (3.7), else by the source's time, which is fixed.
# Formats: packaging.python.org, "Binary distribution format", "Recording
# installed projects" and "Entry points specification".
import base64, csv, hashlib, io, marshal, os, py_compile, re, shutil, sys, sysconfig, zipfile

FIXED = 315532800
SCRIPT = """# -*- coding: utf-8 -*-
import re
import sys
from {module} import {name}
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit({call}())
"""


def rank(name):
    """pip's order: 0 what belongs to the root, 1 what .data directories hold, 2 their scripts."""
    top, kind = (name.split("/", 2) + ["", ""])[:2]
    return top.endswith(".data") + (top.endswith(".data") and kind == "scripts" and name.count("/") > 1)


def by_version(commands):
    """pip and setuptools have commands by python's version, not by that of the python that built them."""
    out = dict(commands)
    for name, forms, other in (("pip", ("%s", "%s%d", "%s%d.%d"), r"pip(\d+(\.\d+)?)?$"), ("easy_install", ("%s", "%s-%d.%d"), r"easy_install(-\d+\.\d+)?$")):
        if name in commands:
            out = {n: call for n, call in out.items() if not re.match(other, n)}
            for form in forms:
                out[form % ((name,) + sys.version_info[: form.count("%d")])] = commands[name]
    return out


class Wheel:
    def __init__(self, path, out):
        self.archive, self.out = zipfile.ZipFile(path), out
        self.files = [i for i in self.archive.infolist() if not i.filename.endswith("/")]
        self.files.sort(key=lambda i: rank(i.filename))
        tops = sorted({i.filename.split("/")[0] for i in self.files})
        infos = [t for t in tops if t.endswith(".dist-info")]
        if len(infos) != 1:
            raise ValueError("it has %d .dist-info directories, not one" % len(infos))
        self.info = infos[0]
        about = dict(re.findall(r"(?m)^([\w-]+):\s*(.*?)\s*$", self.text("WHEEL")))
        if about.get("Wheel-Version", "1.0").split(".")[0] not in ("0", "1"):
            raise ValueError("its Wheel-Version is %s, not 1.x" % about["Wheel-Version"])
        paths = sysconfig.get_paths()
        name = re.sub(r"[-_.]+", "-", self.info.split("-")[0]).lower()
        self.roots = {k: paths[k] for k in ("purelib", "platlib", "scripts", "data")}
        self.roots["headers"] = os.path.join(paths["include"], name)
        self.lib = paths["purelib" if about.get("Root-Is-Purelib", "").lower() == "true" else "platlib"]
        # Paths as RECORD has them, from the library: of the archive's files by
        # their names, those of them that were changed, and those that it has not.
        self.installed, self.changed, self.generated = {}, set(), []

    def text(self, name):
        return self.archive.read(self.info + "/" + name).decode("utf-8")

    def place(self, name):
        """Where a file of the archive belongs; nothing gets outside of the root of its kind."""
        root, path = self.lib, os.path.normpath(name)
        if rank(name):
            _, kind, path = (path.split("/", 2) + ["", ""])[:3]
            if kind not in self.roots or not path:
                raise ValueError("it has a file named %r, which is of no kind that there is" % name)
            root = self.roots[kind]
        place = os.path.normpath(os.path.join(root, path))
        if not place.startswith(os.path.join(os.path.normpath(root), "")):
            raise ValueError("it has a file named %r, which is outside of %s" % (name, root))
        return place

    def relative(self, place):
        return os.path.relpath(place, self.lib)

    def write(self, place, start, rest=None, executable=False):
        path = self.out + place
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        with open(path, "wb") as f:
            f.write(start)
            if rest:
                shutil.copyfileobj(rest, f)
        if executable:
            os.chmod(path, 0o755)
        os.utime(path, (FIXED, FIXED))

    def generate(self, place, data, executable=False):
        self.write(place, data, executable=executable)
        self.generated.append(self.relative(place))

    def commands(self):
        """The scripts that its entry points ask for: console's, then gui's."""
        out, section = {"console_scripts": {}, "gui_scripts": {}}, ""
        has = any(i.filename == self.info + "/entry_points.txt" for i in self.files)
        for line in self.text("entry_points.txt").splitlines() if has else []:
            line = line.strip()
            if line.startswith("["):
                section = line.strip("[] ")
            elif line and line[0] not in "#;" and section in out:
                name, _, value = line.partition("=")
                found = re.match(r"([\w.]+)\s*:\s*([\w.]+)\s*(\[.*\])?$", value.strip())
                if not found or "/" in name:
                    raise ValueError("its entry point %r is none that can be called" % line)
                out[section][name.strip()] = found.group(1, 2)
        return out["console_scripts"], out["gui_scripts"]

    def shebang(self):
        python = '"%s"' % sys.executable if " " in sys.executable else sys.executable
        line = "#!" + python + "\n"
        if len(line) > 127 or " " in python:  # more than kernels read
            line = "#!/bin/sh\n'''exec' " + python + " \"$0\" \"$@\"\n' '''\n"
        return line.encode("utf-8")

    def unpack(self, commands):
        for i in self.files:
            place, script = self.place(i.filename), rank(i.filename) == 2
            name = re.sub(r"(?i)(\.exe|-script\.py|\.pya)$", "", os.path.basename(place))
            if script and name in commands:
                continue  # the entry point's own comes in its place
            mode = i.external_attr >> 16
            with self.archive.open(i) as source:
                start = source.read(len(b"#!python")) if script else b""
                if start == b"#!python":
                    source.readline()
                    start = ("#!" + sys.executable + "\n").encode("utf-8")
                    self.changed.add(self.relative(place))
                self.write(place, start, source, mode & 0o170000 == 0o100000 and mode & 0o111 != 0)
            self.installed[i.filename] = self.relative(place)

    def sums(self, path):
        digest, size = hashlib.sha256(), 0
        with open(self.out + os.path.normpath(os.path.join(self.lib, path)), "rb") as f:
            for block in iter(lambda: f.read(1 << 20), b""):
                digest.update(block)
                size += len(block)
        return "sha256=" + base64.urlsafe_b64encode(digest.digest()).decode("ascii").rstrip("="), str(size)

    def record(self):
        """RECORD is written anew: places instead of names, and what was generated."""
        installed, rows = dict(self.installed), []
        for row in csv.reader(self.text("RECORD").splitlines()):
            if row:
                path = installed.pop(row[0], row[0])
                rows.append((path,) + (self.sums(path) if path in self.changed else tuple((row[1:] + ["", ""])[:2])))
        rows += [(path,) + self.sums(path) for path in self.generated]
        rows += [(path, "", "") for path in installed.values()]
        text = io.StringIO(newline="")
        csv.writer(text).writerows(sorted(rows))
        self.write(os.path.join(self.lib, self.info, "RECORD"), text.getvalue().encode("utf-8"))

    def install(self):
        console, gui = self.commands()
        self.unpack(dict(console, **gui))
        for name, (module, call) in sorted(dict(by_version(console), **gui).items()):
            text = SCRIPT.format(module=module, name=call.split(".")[0], call=call)
            self.generate(os.path.join(self.roots["scripts"], name), self.shebang() + text.encode("utf-8"), True)
        # What pip list and pip uninstall ask for.
        self.generate(os.path.join(self.lib, self.info, "INSTALLER"), b"pip\n")
        self.generate(os.path.join(self.lib, self.info, "REQUESTED"), b"")
        self.record()


def install_all(wheels, out):
    for name in sorted(os.listdir(wheels)):
        try:
            Wheel(os.path.join(wheels, name), out).install()
        except Exception as e:
            sys.exit("install wheel %s: %s: %s" % (name, type(e).__name__, e))


def sources(site):
    """Its python files, in the order of a walk that takes names sorted."""
    def fail(e):
        raise e

    files = [os.path.join(d, n) for d, _, names in os.walk(site, onerror=fail) for n in names if n.endswith(".py")]
    return sorted((f for f in files if "/__pycache__/" not in f[len(site):]), key=lambda f: f.split("/"))


def check_whole(code):
    """Many pythons take it for success when a full disk has room for the first blocks of a file only."""
    if os.path.getsize(code) % 512 == 0:
        with open(code, "rb") as f:
            f.seek(16 if sys.version_info >= (3, 7) else 12)
            try:
                marshal.loads(f.read())
            except (EOFError, TypeError, ValueError):
                raise OSError("only a part of it was written: the disk may be full")


def compile_all(out):
    """False where a file is no python of this version; pip installs those without byte code, and so do we."""
    mode, complete = {}, True
    if sys.version_info >= (3, 7):
        mode["invalidation_mode"] = py_compile.PycInvalidationMode.UNCHECKED_HASH
    site = out + sysconfig.get_paths()["purelib"]
    for path in sources(site) if os.path.isdir(site) else []:
        name = path[len(out):]
        # The cache holds names that were looked up, by their addresses, thus by
        # chance; what else holds a name shows in the byte code until 3.12.
        if sys.version_info < (3, 12):
            sys._clear_type_cache()
        try:
            check_whole(py_compile.compile(path, dfile=name, doraise=True, **mode))
        except Exception as e:
            cause = getattr(e, "exc_value", e)  # compile wraps what it says of the source
            text = "%s: %s: %s" % (name, type(cause).__name__, " ".join(str(cause).split()))
            if cause is e or not isinstance(cause, (SyntaxError, ValueError, RecursionError)):
                sys.exit("make byte code of " + text)
            print("*** " + text.encode("ascii", "backslashreplace").decode("ascii"))
            complete = False
    return complete


# What a process has seen before shows in the byte code that it writes; so
# another one unpacks.
child = os.fork()
if child == 0:
    install_all(sys.argv[1], sys.argv[2])
    sys.exit(0)
status = os.waitpid(child, 0)[1]
if os.WIFSIGNALED(status):
    why = ": the builder has too little memory" if os.WTERMSIG(status) == 9 else ""
    sys.exit("install wheels: the process that unpacks them was killed by signal %d%s" % (os.WTERMSIG(status), why))
if status != 0:
    sys.exit(1)
if not compile_all(sys.argv[2]):
    sys.exit(3)

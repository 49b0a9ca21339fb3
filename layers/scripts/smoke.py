"""Imports what an image was made for, and says what cannot be imported.

Everything is imported in one process first, because packages that can be imported alone may not be together. What fails there is
tried alone, in a process of its own, and what fails only after others is looked for among those by halves. The last line is for
raybuild: a word, and the report as JSON. Python 3.6 and newer.
"""
import csv
import faulthandler
import importlib
import json
import keyword
import os
import re
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from importlib.util import find_spec

IMPORT_SECONDS = 600  # that one import may take
LOOKED_INTO = 6  # failures that are tried alone
LOOK_SECONDS = 240  # that looking into failures may take in all; one that is looked into then may take a minute more
MODULES = 12  # of one distribution, at most
# What builders have not: the driver of a GPU brings these.
DRIVER = re.compile(r"\blib(cuda|nvidia-ml|nvcuvid|nvidia-encode|nvidia-ptxjitcompiler)\.so")
# What distributions ship beside what they are for, and what may want to be run by others.
ASIDE = {"test", "tests", "docs", "doc", "example", "examples", "samples", "benchmark", "benchmarks", "scripts", "setup", "conftest"}

# What distributions import when they are first used. torch makes no optimizer without torch._dynamo, which imports triton: that is
# a segmentation fault where tensorflow from 2.20 on was imported before (https://github.com/tensorflow/tensorflow/issues/124205).
LATE = {"torch": ["torch._dynamo"]}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def oneline(text, most=300):
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


class Distributions:
    """The installed distributions, by normalised name: where their metadata is, and their version."""

    def __init__(self, path):
        self.all = {}
        for place in path:
            try:
                names = sorted(os.listdir(place))
            except OSError:
                continue
            for name in names:
                stem, ending = os.path.splitext(name)
                if ending in (".dist-info", ".egg-info"):
                    parts = stem.split("-")
                    version = parts[1] if len(parts) > 1 else ""
                    self.all.setdefault(normal(parts[0]), (os.path.join(place, name), version))

    def title(self, name):
        version = self.all.get(name, ("", ""))[1]
        return (name + " " + version).strip()

    def record(self, name):
        """The paths of a distribution's files; None where it does not say."""
        try:
            with open(os.path.join(self.all[name][0], "RECORD"), newline="", encoding="utf-8") as f:
                return [row[0].replace("\\", "/") for row in csv.reader(f) if row]
        except (OSError, UnicodeError, csv.Error):
            return None

    def top_level(self, name):
        try:
            with open(os.path.join(self.all[name][0], "top_level.txt"), encoding="utf-8") as f:
                return [line.strip().replace("/", ".") for line in f if line.strip()]
        except (OSError, UnicodeError):
            return []

    def owner(self, file):
        """The distribution that a file belongs to, or ""."""
        for name, (info, _) in self.all.items():
            place = os.path.dirname(info) + os.sep
            if file.startswith(place):
                tail = file[len(place):].replace(os.sep, "/")
                if tail in (self.record(name) or ()):
                    return name
        return ""


def module_of(file):
    """The name of the module that a file is, or ""."""
    for suffix in sorted(EXTENSION_SUFFIXES + SOURCE_SUFFIXES, key=len, reverse=True):
        if file.endswith(suffix):
            name = file[: -len(suffix)]
            # A plain lib….so is a library, and none of Python's.
            return name if usable(name) and not (suffix == ".so" and name.startswith("lib")) else ""
    return ""


def usable(name):
    return name.isidentifier() and not keyword.iskeyword(name)


def packages(prefix, paths, depth=0):
    """The packages at or below a directory with these files: itself, or where it is a namespace those in it."""
    heads = {p for p in paths if "/" not in p}
    modules = sorted({m for m in map(module_of, heads) if m})
    if "__init__" in modules:
        return [prefix]
    below = {}
    for p in paths:
        head, slash, rest = p.partition("/")
        if slash and usable(head):
            below.setdefault(head, []).append(rest)
    found = []
    if depth < 3:
        for head in sorted(below):
            found += packages(prefix + "." + head, below[head], depth + 1)
    return found or [prefix + "." + m for m in modules]


def modules_of(paths, listed):
    """The top-level modules of a distribution, by its RECORD (None: it has none) and top_level.txt."""
    if paths is None:
        found = {name: [name] for name in listed if usable(name)}
    else:
        found, dirs = {}, {}
        for p in paths:
            head, slash, rest = p.partition("/")
            if "__pycache__" in p.split("/"):
                continue
            if not slash:
                if module_of(p):
                    found[module_of(p)] = [module_of(p)]
            elif usable(head):
                dirs.setdefault(head, []).append(rest)
        for head, files in dirs.items():
            inside = packages(head, files)
            if inside:
                found[head] = inside
        if set(found) & set(listed):
            found = {name: found[name] for name in found if name in listed}
    for unwanted in (lambda n: n.startswith("_"), lambda n: n.lower() in ASIDE):
        kept = {name: inside for name, inside in found.items() if not unwanted(name)}
        found = kept or found
    names = [m for name in sorted(found) for m in found[name]]
    names = [m for m in names if "._" not in m] or names
    return [m for m in names if m != "nvidia" and not m.startswith("nvidia.")][:MODULES]


def import_all(modules, out, trace):
    """The child: imports modules, and says what it is at."""

    def say(**what):
        os.write(out, (json.dumps(what) + "\n").encode())

    faulthandler.enable(trace)
    for name in modules:
        say(at=name)
        try:
            importlib.import_module(name)
        except BaseException as e:
            traceback.print_exc()
            chain = [e]
            while len(chain) < 10 and (chain[-1].__cause__ or chain[-1].__context__):
                chain.append(chain[-1].__cause__ or chain[-1].__context__)
            last = [oneline("".join(traceback.format_exception_only(type(x), x)), 240) for x in (chain[0], chain[-1])]
            error = last[0] if last[0] == last[1] else last[0] + " (first: " + last[1] + ")"
            files = [f.filename for x in (chain[0], chain[-1]) for f in traceback.extract_tb(x.__traceback__)]
            say(failed=name, error=error, files=[f for f in files if not f.startswith("<")])
    say(done=True)


def together(modules, seconds):
    """Imports modules in a process of its own, each in so many seconds at most.

    Gives the failures by module: error, files, and whether it ended the process (crash).
    """
    failures = {}
    at = modules[0]  # a process that ends before it says anything has failed with the first
    done = False
    with tempfile.TemporaryFile() as trace:
        sys.stdout.flush()
        sys.stderr.flush()
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(out)
            code = 1
            try:
                import_all(modules, into, trace)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(into)
        rest, status, since = b"", None, time.monotonic()
        while not done:
            readable, _, _ = select.select([out], [], [], 0.2)
            data = os.read(out, 65536) if readable else b""
            if not data:
                if status is not None:
                    break
                ended, code = os.waitpid(pid, 0 if readable else os.WNOHANG)
                if ended:
                    status = code
                elif time.monotonic() - since > seconds:
                    failures[at] = {"error": "its import did not end in %d seconds" % seconds, "files": []}
                    break
                continue
            since = time.monotonic()
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            for said in map(json.loads, lines):
                at = said.get("at", at)
                done = done or "done" in said
                if "failed" in said:
                    failures[said["failed"]] = {"error": said["error"], "files": said["files"]}
        os.close(out)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        if not done and at not in failures:
            trace.seek(0)
            said = trace.read().decode("utf-8", "replace")
            print(said, file=sys.stderr)
            failures[at] = {"error": ending(status), "files": list(reversed(re.findall(r'File "([^"<][^"]*)"', said)))}
            failures[at]["crash"] = True
    return failures


SIGNALS = {"SIGSEGV": "segmentation fault", "SIGABRT": "aborted", "SIGILL": "an instruction that this CPU has not", "SIGKILL": "killed: out of memory?",
           "SIGBUS": "bus error", "SIGFPE": "arithmetic fault"}


def ending(status):
    if os.WIFSIGNALED(status):
        try:
            name = signal.Signals(os.WTERMSIG(status)).name
        except ValueError:
            name = "signal %d" % os.WTERMSIG(status)
        return "the process was ended by %s (%s)" % (name, SIGNALS.get(name, "a signal"))
    return "the process ended with exit code %d" % os.WEXITSTATUS(status)


def in_runs(modules):
    """All modules in one process; after a crash, those that are left in a further one."""
    failures, left = {}, list(modules)
    for _ in range(4):
        got = together(left, IMPORT_SECONDS)
        failures.update(got)
        crashed = [m for m, f in got.items() if f.get("crash")]
        if not crashed:
            break
        left = left[left.index(crashed[0]) + 1:]
        if not left:
            break
    return failures


class Looking:
    """Finds whether a module fails alone, or after which others."""

    def __init__(self, modules):
        self.modules, self.until = modules, time.monotonic() + LOOK_SECONDS

    def fails(self, others, module):
        seconds = min(IMPORT_SECONDS, max(60, self.until - time.monotonic()))
        return together(others + [module], seconds).get(module)

    def late(self):
        return time.monotonic() > self.until

    def into(self, module, failure):
        alone = self.fails([], module)
        if alone:
            return dict(alone, alone=True)
        others = self.modules[: self.modules.index(module)]
        while len(others) > 1 and not self.late():
            half = len(others) // 2
            for part in (others[half:], others[:half]):
                if self.fails(part, module):
                    others = part
                    break
            else:
                break
        return dict(failure, after=others[-6:])


def ask(order):
    """The failures, as the report has them; modules of one cause are one failure."""
    failures = in_runs(order)
    look, looked = Looking(order), 0
    out = []
    for module in [m for m in order if m in failures]:
        parents = [module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1)]
        if any(p in done for done in (f["modules"] for f in out) for p in parents):
            continue  # what is wrong with it was said
        failure = failures[module]
        if looked < LOOKED_INTO and not look.late():
            failure, looked = look.into(module, failure), looked + 1
        for other in out:
            if other["error"] == failure["error"] and other.get("after") == failure.get("after"):
                other["modules"].append(module)
                break
        else:
            out.append(dict(failure, modules=[module]))
    return out


def main(wanted):
    dists = Distributions(sys.path)
    notes, owner, order = [], {}, []

    def want(module, package):
        if module not in owner:
            owner[module] = package
            order.append(module)

    want("ray", "ray")
    for module in wanted["modules"]:
        want(module, "ray")
    for name in wanted["packages"]:
        if name not in dists.all:
            notes.append("%s is not tested: the image has no metadata of it" % name)
            continue
        for module in modules_of(dists.record(name), dists.top_level(name)):
            want(module, name)
    for name in wanted["packages"]:
        for module in LATE.get(name, []):
            if module.replace(".", "/") + "/__init__.py" in (dists.record(name) or ()):
                want(module, name)
    try:
        if find_spec("ray"):  # not every version of Ray has each of them
            order = [m for m in order if owner[m] != "ray" or m == "ray" or os.path.exists(place_of(m))]
    except Exception:  # its own import will say what is wrong
        pass
    print("importing " + ", ".join(order), flush=True)
    failures = []
    for f in ask(order):
        if DRIVER.search(f["error"]):
            notes.append("%s is not tested: it needs a GPU's driver, which no build has" % ", ".join(f["modules"]))
            continue
        names = {owner.get(m, "") for m in f["modules"] + f.get("after", [])} - {""}
        f["packages"] = sorted(dists.title(n) for n in names)
        raised = next((n for n in (dists.owner(p) for p in reversed(f.pop("files"))) if n), "")
        f["in"] = dists.title(raised) if raised and raised not in names else ""
        failures.append(f)
    home = os.environ.get("HOME", "")
    if not os.access(home, os.W_OK):
        failures.append({"modules": [], "packages": [], "error": "the user cannot write to its home, %s" % home})
    if not shutil.which("ray"):
        failures.append({"modules": [], "packages": ["ray"], "error": "there is no command ray on the PATH"})
    for note in notes:
        print("note: " + note)
    print("raybuild-smoke: " + json.dumps({"tested": len(order), "failures": failures, "notes": notes}), flush=True)
    return 1 if failures else 0


def place_of(module):
    """Where a module of Ray's is, found without importing it."""
    base = os.path.dirname(find_spec("ray").origin or "")
    path = os.path.join(base, *module.split(".")[1:])
    return path if os.path.isdir(path) else path + ".py"


if __name__ == "__main__":
    sys.path = [p for p in sys.path if p]  # the directory that it runs in is none of Python's
    sys.exit(main(json.loads(sys.argv[1])))

"""Functions by value, for drivers whose code the workers do not have. Ray uses cloudpickle; this does what plain functions need."""

import base64
import builtins
import importlib
import marshal
import pickle
import sys
import types


def foreign(module):
    """Whether workers cannot import a module: it is the driver's script, or lies beside it."""
    if module in (None, "__main__"):
        return True
    found = sys.modules.get(module)
    path = getattr(found, "__file__", None) or ""
    return bool(path) and not any(part in path for part in ("/lib/python", "/site-packages/", "/dist-packages/")) and not path.startswith("<")


def pack(value, seen=None):
    """A value as something that JSON can carry."""
    seen = {} if seen is None else seen
    if isinstance(value, types.ModuleType):
        return {"module": value.__name__}
    if isinstance(value, types.FunctionType) and foreign(value.__module__):
        if id(value) in seen:
            return {"again": seen[id(value)]}
        seen[id(value)] = len(seen)
        return pack_function(value, seen)
    if hasattr(type(value), "remote_parts"):
        return {"remote": [pack(part, seen) for part in value.remote_parts()]}
    return {"pickle": base64.b64encode(pickle.dumps(value)).decode()}


def pack_function(f, seen):
    mark = seen[id(f)]
    names, closure = set(), []
    stack = [f.__code__]
    while stack:  # the names of inner functions, too
        code = stack.pop()
        names.update(code.co_names)
        stack.extend(c for c in code.co_consts if isinstance(c, types.CodeType))
    for cell in f.__closure__ or ():
        try:
            closure.append(pack(cell.cell_contents, seen))
        except ValueError:
            closure.append(None)  # not filled yet
    used = {}
    for n in sorted(names):
        if n in f.__globals__ and n not in vars(builtins):
            try:
                used[n] = pack(f.__globals__[n], seen)
            except (pickle.PicklingError, TypeError, AttributeError):
                continue  # perhaps an attribute's name only; a real use fails in the worker with a NameError
    return {"mark": mark, "name": f.__name__, "code": base64.b64encode(marshal.dumps(f.__code__)).decode(), "globals": used,
            "defaults": [pack(d, seen) for d in f.__defaults__ or ()],
            "kwdefaults": {k: pack(v, seen) for k, v in (f.__kwdefaults__ or {}).items()}, "closure": closure}


def unpack(packed, seen=None):
    seen = {} if seen is None else seen
    if "module" in packed:
        return importlib.import_module(packed["module"])
    if "again" in packed:
        return seen[packed["again"]]
    if "remote" in packed:
        from ray._standin import client

        return client.RemoteFunction(*[unpack(part, seen) for part in packed["remote"]])
    if "pickle" in packed:
        return pickle.loads(base64.b64decode(packed["pickle"]))
    scope = {"__builtins__": builtins, "__name__": "__main__"}
    closure = tuple(types.CellType() for _ in packed["closure"])
    f = types.FunctionType(marshal.loads(base64.b64decode(packed["code"])), scope, packed["name"], None, closure)
    seen[packed["mark"]] = f
    f.__defaults__ = tuple(unpack(d, seen) for d in packed["defaults"]) or None
    f.__kwdefaults__ = {k: unpack(v, seen) for k, v in packed["kwdefaults"].items()} or None
    for cell, value in zip(closure, packed["closure"]):
        if value is not None:
            cell.cell_contents = unpack(value, seen)
    for name, value in packed["globals"].items():
        scope[name] = unpack(value, seen)
    return f

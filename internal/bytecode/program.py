# Compiles sources that come on standard input, and runs none of them. Integers are of 4 bytes, the lowest first.
# Request:  path's length, path, source's length, source.
# Response: status (0: byte code follows, 1: the source is not valid, 2: another error), its length, its bytes.
# The first response, without a request, has the version, the byte code's magic number and the implementation.
import sys

sys.path = [p for p in sys.path if p]  # not the working directory
import _frozen_importlib_external as external
import _imp
import marshal
import os

stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # whatever prints now does not break the protocol


def read():
    head = stdin.read(4)
    if not head:
        sys.exit(0)
    size = int.from_bytes(head, "little")
    data = stdin.read(size)
    if len(data) != size:
        sys.exit("the request ends too early")
    return data


def write(status, data):
    stdout.write(bytes([status]) + len(data).to_bytes(4, "little") + data)
    stdout.flush()


def pyc(path, source):
    code = compile(source, path, "exec", dont_inherit=True, optimize=-1)
    magic = external.MAGIC_NUMBER
    return magic + b"\1\0\0\0" + _imp.source_hash(int.from_bytes(magic, "little"), source) + marshal.dumps(code)


write(0, b"%d.%d.%d %d %s" % (sys.version_info[:3] + (int.from_bytes(external.MAGIC_NUMBER, "little"),)
                              + (sys.implementation.name.encode(),)))
while True:
    path, source = read().decode("utf-8"), read()
    try:
        answer = 0, pyc(path, source)
    except (SyntaxError, ValueError, RecursionError) as e:
        answer = 1, str(e).encode("utf-8", "backslashreplace")
    except BaseException as e:
        answer = 2, (type(e).__name__ + ": " + str(e)).encode("utf-8", "backslashreplace")
    write(*answer)
    del answer, source, path

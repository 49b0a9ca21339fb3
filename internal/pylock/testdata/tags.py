# tags.py PYTHON MACHINE GLIBC: prints the tags that packaging.tags gives a CPython on a Linux with glibc.
import sys

from packaging import _manylinux, tags

python, machine, glibc = sys.argv[1:]
version = tuple(int(n) for n in python.split("."))
minor = version[1]
_manylinux._get_glibc_version = lambda: tuple(int(n) for n in glibc.split("."))
_manylinux._have_compatible_abi = lambda executable, archs: True
_manylinux._is_compatible = lambda arch, version: _manylinux._get_glibc_version() >= version
platforms = list(_manylinux.platform_tags([machine])) + ["linux_" + machine]
name = "cp3%d" % minor
abi = name + ("m" if minor < 8 else "")
for t in tags.cpython_tags(version, [abi], platforms):
    print(t)
for t in tags.compatible_tags(version, name, platforms):
    print(t)

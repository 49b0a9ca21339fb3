# facts.py VERSIONS MARKERS: writes what packaging says of versions and of markers into the two files.
import sys, itertools
from packaging.specifiers import SpecifierSet
from packaging.markers import Marker
vs="1 1.0 1.0.0 1.0.1 1.1 2 2.0a1 2.0b2 2.0rc1 2.0.dev1 2.0 2.0.post1 2.0.post1.dev2 1!1.0 2.5.1+cpu 2.5.1 2.5.1+cu121 2.0a1.dev3 3.11.9 3.12.0rc1 2.0+abc.1 2.0+abc.a".split()
ss="==1 ==1.0.* !=1.* >=2 >2 <2 <=2 <2.0rc1 >2.0.post1 ~=1.0 ~=2.5.0 ==2.5.1 ==2.5.1+cpu >=1.0,<2 ===2.0 !=2.0 >=1!0 >2.5.1 <=2.5.1 >=3.11,<3.13 >=3.12 <2.0.dev1 >2.0a1 >=2.0.dev1".split()
with open(sys.argv[1],'w') as f:
  f.write("# What packaging %s says: VERSION SPECIFIER has\n"%__import__('packaging').__version__)
  for v,s in itertools.product(vs,ss):
    f.write(f"{v} {s} {str(SpecifierSet(s).contains(v,prereleases=True)).lower()}\n")
env=dict(implementation_name="cpython",implementation_version="3.11.9",os_name="posix",platform_machine="x86_64",platform_python_implementation="CPython",platform_release="",platform_system="Linux",platform_version="",python_full_version="3.11.9",python_version="3.11",sys_platform="linux")
ms=["python_version < '3.12'","python_version >= '3.10' and sys_platform == 'linux'","python_full_version >= '3.11.0rc1'","python_full_version < '3.11.9'","'3.10' <= python_version","sys_platform != 'win32' or platform_machine == 'arm64'","(sys_platform == 'win32' or os_name == 'posix') and platform_machine == \"x86_64\"","python_version in '3.10, 3.11'","python_version not in '3.8'","'linux' in sys_platform","platform_python_implementation == 'PyPy'","implementation_name == 'cpython' and implementation_version >= '3.11'","python_version == '3.11.*'","python_version ~= '3.8'","sys_platform == 'linux' or sys_platform == 'darwin' and python_version < '3'","platform_machine >= 'x'","python_version == '3.1'","extra == 'a'","extra != 'a'","extra == 'B_b'","os_name == 'nt' and (python_version > '3' or extra == 'a')"]
with open(sys.argv[2],'w') as f:
  f.write("# What packaging %s says of Python 3.11.9 on linux/amd64 with the extra a: holds MARKER\n"%__import__('packaging').__version__)
  for m in ms:
    f.write(f"{str(Marker(m).evaluate({**env,'extra':'a'})).lower()} {m}\n")

// Package bytecode makes Python's byte code (.pyc files) outside of the environment that it is for.
//
// [Start] starts interpreters, and [Compiler.Compile] gives them one source after the other. No source is run, only
// compiled. The byte code is what py_compile writes with PycInvalidationMode.UNCHECKED_HASH (PEP 552): it holds no
// time, and Python takes it without a look at the source.
//
// # The bytes
//
// The same source and path give the same bytes in any process of one release of Python, in any order. Another patch
// release has the same magic number and may generate other code: 3.11.2 and 3.11.7 do for 24 of 5,144 files of Ray and
// torch. So who keeps byte code should keep it by release ([Compiler.Release]), or say which release makes it.
//
// marshal alone does not give that: what a process has imported or compiled before shows in it
// (https://github.com/python/cpython/issues/78274, https://github.com/python/cpython/issues/98819). Of 1,264 files of
// Ray and torch, Python 3.10 writes 898 differently after other imports; 3.13 writes argparse.py and functools.py
// differently where these modules are loaded. So [Compiler.Compile] brings what marshal wrote into one form, in which
// only code counts: objects are flagged if they are referred to, equal constants are one object, and items of sets have
// an order. Python reads equal code from both forms. The bytes are not those of py_compile, but what these become in
// the same form.
//
// Interpreters run with PYTHONHASHSEED=0, because sets are written in the order of their hashes before Python 3.11.
//
// # The interpreter
//
// Any CPython from 3.7 will do. [Unpack] takes one out of a conda package, and puts it into a directory from where it
// runs: byte code for an environment needs no builder then, only a package for this machine's system and CPU.
package bytecode

# compile_python PYTHON OUT: byte code that depends on nothing but the source:
# serial, sorted, checked by hash where python can (3.7), else by the source's
# time, which is fixed first. A process of its own that does nothing else: what
# a process has seen before shows in the byte code that it writes.
compile_python() {
	find "$2" -exec touch -h -d "$fixed" {} +
	compiled=0
	"$1" - "$2" >"$TMPDIR/compile.log" 2>&1 <<'PY' || compiled=$?
import compileall, os, sys, sysconfig

site = sysconfig.get_paths()["purelib"]
mode = {}
if sys.version_info >= (3, 7):
    import py_compile

    mode["invalidation_mode"] = py_compile.PycInvalidationMode.UNCHECKED_HASH
if os.path.isdir(sys.argv[1] + site) and not compileall.compile_dir(sys.argv[1] + site, ddir=site, quiet=1, **mode):
    sys.exit(3)
PY
	case $compiled in
	0) ;;
	# A package may bring files that are no python of this version; pip
	# installs those without byte code, and so do we.
	3) echo "some files have no byte code: $(grep -c '^\*\*\*' "$TMPDIR/compile.log")" ;;
	*) cat "$TMPDIR/compile.log" >&2; exit "$compiled" ;;
	esac
	find "$2" -exec touch -h -d "$fixed" {} +
}

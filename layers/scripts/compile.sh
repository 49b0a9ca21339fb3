# compile_python PYTHON OUT: byte code that depends on nothing but the source:
# serial, sorted, checked by hash where python can (3.7), else by the source's
# time, which is fixed first.
compile_python() {
	find "$2" -exec touch -h -d "$fixed" {} +
	site=$("$1" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
	if [ -d "$2$site" ]; then
		mode=
		if "$1" -c 'import sys; sys.exit(sys.version_info < (3, 7))'; then
			mode='--invalidation-mode unchecked-hash'
		fi
		# A package may bring files that are no python of this version; pip
		# installs those without byte code, and so do we.
		"$1" -m compileall -q $mode -d "$site" "$2$site" >"$TMPDIR/compile.log" 2>&1 ||
			echo "some files have no byte code: $(grep -c '^\*\*\*' "$TMPDIR/compile.log")"
	fi
	find "$2" -exec touch -h -d "$fixed" {} +
}

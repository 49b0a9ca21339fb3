# wheel-install PYTHON WHEELS OUT: installs every wheel of a directory into OUT
# by $PROGRAM. Their digests are the builder's to check, which it does when it
# takes them. Without site, nothing runs that packages hook into python's start.
failed=0
"$1" -S -c "$PROGRAM" "$2" "$3" >"$TMPDIR/install.log" 2>&1 || failed=$?
case $failed in
0) ;;
3)
	echo "some files have no byte code: $(grep -c '^\*\*\* ' "$TMPDIR/install.log")"
	grep -m 5 '^\*\*\* ' "$TMPDIR/install.log"
	;;
137) cat "$TMPDIR/install.log" >&2; echo "python was killed by signal 9: the builder has too little memory" >&2; exit "$failed" ;;
*) cat "$TMPDIR/install.log" >&2; exit "$failed" ;;
esac
find "$3" -exec touch -h -d "$fixed" {} +

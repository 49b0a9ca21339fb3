# wheel-build PYTHON SOURCE WHEELS OUT: builds a wheel from a source
# distribution; what its build needs lies in WHEELS.
mkdir -p "$HOME"
"$1" -m pip wheel --no-index --find-links "$3" --no-deps --no-cache-dir \
	--disable-pip-version-check -w "$4" "$2"
find "$4" -exec touch -h -d "$fixed" {} +

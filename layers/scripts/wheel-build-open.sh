# wheel-build-open PYTHON SOURCE OUT: builds a wheel from a source distribution
# with what is installed, and nothing else.
mkdir -p "$HOME"
"$1" -m pip wheel --no-index --no-build-isolation --no-deps --no-cache-dir \
	--disable-pip-version-check -w "$3" "$2"
find "$3" -exec touch -h -d "$fixed" {} +

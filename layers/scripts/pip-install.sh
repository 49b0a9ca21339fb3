# pip-install PYTHON REQUIREMENTS WHEELS OUT: installs wheels into OUT, below
# which the environment's own path is repeated. Only hashes that the lock holds
# are installed.
mkdir -p "$HOME"
"$1" -m pip install --root "$4" -r "$2" --require-hashes \
	--no-index --find-links "$3" --no-deps --ignore-installed --no-compile \
	--no-cache-dir --disable-pip-version-check --no-warn-script-location -q
compile_python "$1" "$4"

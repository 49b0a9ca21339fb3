# pip-install-built PYTHON WHEELS OUT: installs the wheels that an earlier step
# built from a source of a known digest.
mkdir -p "$HOME"
"$1" -m pip install --root "$3" \
	--no-index --no-deps --ignore-installed --no-compile \
	--no-cache-dir --disable-pip-version-check --no-warn-script-location -q "$2"/*.whl
# pip notes the path that a local wheel had.
find "$3" -name direct_url.json | while read -r file; do
	sed -i '/direct_url\.json,/d' "${file%/*}/RECORD"
	rm "$file"
done
compile_python "$1" "$3"

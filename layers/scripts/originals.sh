# originals FILE...: keeps each file as FILE.bak, once.
for file in "$@"; do
	if [ -e "$file" ] && [ ! -e "$file.bak" ]; then
		cp -p "$file" "$file.bak"
	fi
done
settle /

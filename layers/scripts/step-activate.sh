# step-activate SCRIPT OWNER: the user's script, and nothing else here, has the variables that packages of the
# environment want. They come on the script's own first line, so that its lines keep their numbers.
if [ -e "$CONDA_PREFIX/etc/raybuild/activate.sh" ]; then
	set -- '. "$CONDA_PREFIX/etc/raybuild/activate.sh"; '"$1" "$2"
fi

# env-create CONDA PREFIX EXPLICIT: makes an environment of the packages that
# lie in the package directories, without a solver and without the network.
mkdir -p "$HOME"
"$1/bin/conda" create -p "$2" --offline -y -q --file "$3"
plain_history "$2" "conda create"
settle "$2"

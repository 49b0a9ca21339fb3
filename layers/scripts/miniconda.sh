# miniconda INSTALLER PREFIX: runs a Miniconda or Miniforge installer. What lies
# above the prefix is the output.
mkdir -p "$HOME"
sh "$1" -b -p "$2"
# The packages that the installer brought are unpacked in the prefix.
rm -rf "$2/pkgs"
plain_history "$2" "installer"
settle "${2%/*}"

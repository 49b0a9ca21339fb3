#!/bin/sh
# @NAME@ @VERSION@ for @PLATFORM@: STAND-IN FOR TESTS made by raybuild's offline package world.
# It takes the options of the Miniconda installer and leaves the tree that one leaves; it is not Miniconda.
#
# NAME:  @NAME@
# VER:   @VERSION@
# PLAT:  linux-64
# MD5:   @MD5@
# The payload follows the last line of this script: @CONDA_SIZE@ bytes of program, @TAR_SIZE@ bytes of tar.
set -eu
unset LD_LIBRARY_PATH PYTHONHOME PYTHONPATH 2>/dev/null || :

PREFIX="${HOME:-/opt}/@DIRECTORY@"
BATCH=0 FORCE=0 UPDATE=0 SKIP_SCRIPTS=0 TEST=0
THIS=$0
PAYLOAD_LINE=@LINES@

usage() {
    cat <<TEXT
usage: $THIS [options]

Installs @NAME@ @VERSION@ (a stand-in for tests; not Miniconda).

  -b         batch mode: no questions; the licence terms count as agreed to
  -f         no error if the prefix exists already
  -h         print this help and exit
  -p PREFIX  where to install; default: $PREFIX
  -s         don't run the packages' link scripts
  -m         don't make menu items (there are none)
  -u         update an existing installation
  -t         test the installation at the end
TEXT
}

while getopts "bfhkp:sumt" option; do
    case "$option" in
        b) BATCH=1 ;;
        f) FORCE=1 ;;
        h) usage; exit 0 ;;
        k|m) ;;
        p) PREFIX=$OPTARG ;;
        s) SKIP_SCRIPTS=1 ;;
        u) UPDATE=1; FORCE=1 ;;
        t) TEST=1 ;;
        *) echo "ERROR: did not recognize option, please try -h" >&2; exit 1 ;;
    esac
done

min_glibc=@GLIBC@
glibc=${CONDA_OVERRIDE_GLIBC:-$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //')}
if [ -n "$glibc" ] && [ "$(printf '%s\n%s\n' "$min_glibc" "$glibc" | sort -t. -k1,1n -k2,2n | head -n 1)" != "$min_glibc" ]; then
    echo "Installer requires GLIBC >=$min_glibc, but system has $glibc." >&2
    exit 1
fi

case "$PREFIX" in
    *" "*) echo "ERROR: Cannot install into directories with spaces" >&2; exit 1 ;;
esac

if [ "$BATCH" = 0 ]; then
    if [ ! -t 0 ]; then
        echo "ERROR: standard input is no terminal: run with -b to install without questions" >&2
        exit 2
    fi
    echo "Welcome to the stand-in of @NAME@ @VERSION@ (for tests; not Miniconda)."
    printf 'Do you accept the license terms? [yes|no]\n>>> '
    read -r answer
    [ "$answer" = yes ] || { echo "The license agreement wasn't approved, aborting installation."; exit 2; }
    printf 'Install to %s: press ENTER, or say another place\n>>> ' "$PREFIX"
    read -r answer
    [ -z "$answer" ] || PREFIX=$answer
fi

if [ "$FORCE" = 0 ] && [ -e "$PREFIX" ]; then
    echo "ERROR: File or directory already exists: '$PREFIX'" >&2
    echo "If you want to update an existing installation, use the -u option." >&2
    exit 1
fi
if [ "$UPDATE" = 0 ] && [ -d "$PREFIX/conda-meta" ] && [ "$FORCE" = 1 ]; then
    echo "Installing over the existing installation in $PREFIX"
fi
mkdir -p "$PREFIX" || { echo "ERROR: Could not create directory: '$PREFIX'" >&2; exit 1; }
PREFIX=$(cd "$PREFIX" && pwd)
echo "PREFIX=$PREFIX"

sum=$(tail -n +$PAYLOAD_LINE "$THIS" | md5sum | cut -d ' ' -f 1)
if [ "$sum" != "@MD5@" ]; then
    echo "WARNING: md5sum mismatch of tar archive" >&2
    echo "expected: @MD5@" >&2
    echo "     got: $sum" >&2
    exit 1
fi

echo "Unpacking bootstrapper..."
tail -n +$PAYLOAD_LINE "$THIS" | head -c @CONDA_SIZE@ > "$PREFIX/_conda"
chmod +x "$PREFIX/_conda"
echo "Unpacking payload..."
tail -n +$PAYLOAD_LINE "$THIS" | tail -c +$((@CONDA_SIZE@ + 1)) | tar -x -f - -C "$PREFIX" --no-same-owner

export CONDA_PKGS_DIRS="$PREFIX/pkgs" CONDA_ROOT_PREFIX="$PREFIX" CONDA_REGISTER_ENVS=false
[ "$SKIP_SCRIPTS" = 0 ] || export CONDA_STANDIN_SKIP_SCRIPTS=1
"$PREFIX/_conda" constructor --prefix "$PREFIX" --extract-conda-pkgs
echo
echo "Installing base environment..."
"$PREFIX/_conda" install --offline --file "$PREFIX/pkgs/env.txt" -yp "$PREFIX"
rm -f "$PREFIX"/pkgs/env.txt "$PREFIX"/pkgs/*.conda "$PREFIX"/pkgs/*.tar.bz2
printf 'channels:\n  - @CHANNEL@\n' > "$PREFIX/.condarc"
mkdir -p "$PREFIX/envs"
[ "$TEST" = 0 ] || "$PREFIX/bin/conda" info
echo "installation finished."
exit 0

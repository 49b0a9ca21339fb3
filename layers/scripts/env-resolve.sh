# env-resolve OUT CONDA ARGUMENT...: asks conda which packages an environment
# would have. Its answer, also a refusal, is JSON.
out=$1 conda=$2
shift 2
mkdir -p "$HOME" "$CONDA_PKGS_DIRS"
"$conda/bin/conda" create --dry-run --json "$@" >"$out/solution.json" 2>"$out/stderr" || echo $? >"$out/failed"
"$conda/bin/conda" --version >"$out/version" 2>/dev/null || :

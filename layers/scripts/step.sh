# step SCRIPT: runs a user's script; what it makes gets the fixed time.
/bin/sh -euc "$1"
settle /

// Package uv resolves Python packages on this machine with uv (https://docs.astral.sh/uv/), for a Linux that is
// not this machine's. It needs no Python, no sandbox and no builder.
//
// uv itself is a wheel of PyPI, locked by digest in this package, which comes from the same mirrors as any other
// artifact. Each run has a proxy of its own on loopback, which asks for a secret and leads to raybuild's gateway; so
// mirrors, logins and fail-over are the gateway's.
//
// Nothing that an index serves is ever run here. uv asks a Python for the environment that it resolves for; what it
// gets is a script that answers this one question, with constant text, and refuses every other. To build a source
// distribution uv would run that script too, and so it fails ([NeedsBuildError]).
package uv

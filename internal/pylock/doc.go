// Package pylock reads the locks of Python tools, and picks the packages that fit a target, and the file of each. It
// writes pylock.toml.
//
// pylock.toml is PEP 751's (https://packaging.python.org/en/latest/specifications/pylock-toml/), lock-version 1.x.
// uv.lock (version 1) and poetry.lock (lock-version 2.0 and 2.1) have no description but the tools that write them.
// Markers and versions are those of PEP 508 and PEP 440, as packaging reads them. The tags of wheels are those of PEP
// 425, PEP 600 and their legacy names, in the order in which pip prefers them.
package pylock

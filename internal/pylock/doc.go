// Package pylock reads pylock.toml files and picks the file of a package that fits a target.
//
// The format is PEP 751's (https://packaging.python.org/en/latest/specifications/pylock-toml/), lock-version 1.x.
// The tags of wheels are those of PEP 425, PEP 600 and their legacy names, in the order in which pip prefers them.
package pylock

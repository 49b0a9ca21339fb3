package layers

import (
	"regexp"
	"slices"
	"strings"
)

// nextStep is what to do where a text matches. $1 and so on stand for what the text names, as in regexp.Expand.
type nextStep struct {
	text func() *regexp.Regexp
	do   string
}

// afterConflict are the next steps after what uv says of requirements that nothing satisfies (uv 0.13).
var afterConflict = []nextStep{
	{lazy(`Because (\S+) was not found in the package registry`),
		"no index has $1: see how it is written on pypi.org; a package of another index is named under " +
			"pip.extra_indexes"},
	{lazy("(?s)Wheels are available for `(\\S+)` .*?platforms?: (`manylinux_2_(\\d+)\\S*`)"),
		"$1 wants glibc 2.$3 or later: take a newer base, or an older version of $1"},
	{lazy("(?s)Wheels are available for `(\\S+)` .*?platforms?: (`\\S+`)"),
		"$1 has files for other systems alone: take another version of it, or leave it out by a marker such " +
			"as ; sys_platform == \"win32\""},
	{lazy("You require CPython (\\d\\.\\d+) .*wheels for `(\\S+)` .*tags?: `cp3(\\d+)`"),
		"$2 has files for Python 3.$3 alone: set env.python: \"3.$3\", or take a version of $2 that has some " +
			"for $1"},
	{lazy(`does not satisfy Python>=(\d\.\d+)\S* and (\S+?)==\S+ depends on`),
		"set env.python: \"$1\", or take an older version of $2"},
	{lazy(`there is no version of (\S+?)==(\S+)`),
		"$1 has no version $2: see which there are on pypi.org, or leave == out"},
	{lazy(`(?s)you require .* your requirements are unsatisfiable`),
		"loosen one of them, or leave one out"},
}

// afterBuild are the next steps after what a failing build of a source distribution says.
var afterBuild = []nextStep{
	{lazy(`(?i)pg_config executable not found|libpq-fe\.h: No such file`),
		"apt: [libpq-dev]"},
	{lazy(`(?i)mysql_config(?:: | )not found|Can not find valid pkg-config name|mysql\.h: No such file`),
		"apt: [default-libmysqlclient-dev, pkg-config]"},
	{lazy(`fatal error: Python\.h: No such file`),
		"the header Python.h comes with conda's python: see that env.conda does not replace it"},
	{lazy(`fatal error: (\S+\.h(?:pp)?): No such file or directory`),
		"the build lacks the header $1: name the package that has it under apt (apt-file search $1)"},
	{lazy(`(?i)unknown compiler\(s\):.*gfortran|gfortran(?:: not found|' failed)|no fortran compiler`),
		"apt: [gfortran]"},
	{lazy(`(?i)can't find rust compiler|requires rust|cargo(?:, the rust package manager|: not found|' failed)|` +
		`rustc.*not found`),
		"it is written in Rust: apt: [cargo], env.conda: [rust] for a newer one, or take a version that has a wheel"},
	{lazy(`(?i)cmake must be installed|cmake(?:: not found|' failed)|could not find cmake`),
		"apt: [cmake]"},
	{lazy(`(?i)pkg-config(?:: not found|.*(?:not be found|not installed))|did not find pkg-config`),
		"apt: [pkg-config]"},
	{lazy(`command '(?:\S*/)?(?:gcc|g\+\+|cc|c\+\+|x86_64-linux-gnu-gcc)' failed: No such file|(?:gcc|g\+\+|` +
		`cc): not found`), "apt: [build-essential]"},
	{lazy(`(?:command '(\S+?)' failed: No such file or directory|/bin/sh: \d+: (\S+): not found|` +
		`No such file or directory: '([a-z][a-z0-9+-]*)')`),
		"the build runs $1$2$3: name the package that has it under apt"},
	{lazy(`cannot find -l([A-Za-z0-9_+.-]+)`),
		"the build lacks the library $1: name its package under apt (lib$1-dev)"},
	{lazy(`(?i)name resolution|name or service not known|could not resolve host|urlopen error|NewConnectionError|` +
		`network is unreachable`),
		"its build asks the network, which builds do not have: build its wheel elsewhere, and name it under " +
			"pip.wheels"},
	{lazy(`Missing parentheses in call to 'print'|invalid syntax.*print `),
		"it is for Python 2: take a newer version"},
	{lazy(`use_2to3 is invalid`),
		"it is for setuptools before 58: take a newer version"},
	{lazy(`(?i)setuptools[-_]scm was unable to detect version`),
		"its sources lack their version: name a release from the index, or its wheel under pip.wheels"},
	{lazy(`No module named '(pkg_resources|distutils|imp)'`),
		"it uses $1, which newer Pythons and setuptools lack: take a newer version of it, or an older " +
			"env.python"},
	{lazy(`No module named '([A-Za-z0-9_]+)'`),
		"its build imports $1 and does not ask for it: if a package of the recipe brings it, write pip: " +
			"{no_build_isolation: [NAME]} with the name of what is built; else take a version that has a wheel"},
}

// whatToDo is a line that says what to do after a text, by the first step that fits; "" if none does.
func whatToDo(after []nextStep, text string) string {
	i := slices.IndexFunc(after, func(s nextStep) bool { return s.text().MatchString(text) })
	if i < 0 {
		return ""
	}
	expr := after[i].text()
	do := expr.ExpandString(nil, after[i].do, text, expr.FindStringSubmatchIndex(text))
	return "\nwhat to do: " + strings.ReplaceAll(string(do), "`", "")
}

package sbom

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLicense is the longest text, in bytes, that counts as a licence's name. Some packages have the whole text there.
const maxLicense = 120

// maxName is the longest name or version, in bytes.
const maxName = 512

// plain makes a text of an image safe to show and to write: without control characters, at most maxName bytes.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) && r != ' ' {
			return -1
		}
		return r
	}, text)
	for len(text) > maxName {
		_, n := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-n]
	}
	return strings.TrimSpace(text)
}

// errNoName says that a package's metadata does not say what package it is.
var errNoName = errors.New("it has no name or no version")

// ReadMetadata reads METADATA or PKG-INFO of a Python distribution (core metadata 1.0 to 2.4; the form is that of
// email's headers).
func ReadMetadata(data []byte) (Part, error) {
	p := Part{Kind: Python}
	var expression, license string
	var classifiers []string
	header(data, func(name, value string) {
		switch name {
		case "name":
			p.Name = first(p.Name, plain(value))
		case "version":
			p.Version = first(p.Version, plain(value))
		case "license-expression":
			expression = first(expression, value)
		case "license":
			license = first(license, value)
		case "classifier":
			if l, ok := classified(value); ok {
				classifiers = append(classifiers, l)
			}
		}
	})
	if p.Name == "" || p.Version == "" {
		return p, fmt.Errorf("read Python metadata: %w", errNoName)
	}
	switch {
	case expression != "":
		p.License = short(expression)
	case short(license) != "" && !strings.EqualFold(short(license), "unknown"):
		p.License = short(license)
	default:
		p.License = both(classifiers)
	}
	if len(p.License) > 2*maxLicense {
		p.License = ""
	}
	return p, nil
}

// header gives the fields of a message's head, in their order. Names are in lower case.
func header(data []byte, each func(name, value string)) {
	var name, value string
	end := func() {
		if name != "" {
			each(name, strings.TrimSpace(value))
		}
		name, value = "", ""
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break // the description follows
		}
		if line[0] == ' ' || line[0] == '\t' {
			value += "\n" + strings.TrimSpace(line)
			continue
		}
		end()
		if n, v, ok := strings.Cut(line, ":"); ok {
			name, value = strings.ToLower(n), v
		}
	}
	end()
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// short is a licence's name; "" for a whole text.
func short(license string) string {
	if license = strings.TrimSpace(license); strings.Contains(license, "\n") || len(license) > maxLicense {
		return ""
	}
	return plain(license)
}

// classified gives the SPDX identifier of a licence classifier, or its last part. Classifiers that leave the version
// open, such as "BSD License", stay as they are. Source: https://pypi.org/classifiers/.
func classified(value string) (string, bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(value), "License :: ")
	if !ok {
		return "", false
	}
	if i := strings.LastIndex(rest, ":: "); i >= 0 {
		rest = rest[i+len(":: "):]
	}
	name := plain(rest)
	if name == "" || name == "OSI Approved" || len(name) > maxLicense {
		return "", false
	}
	for _, known := range [][2]string{
		{"MIT License", "MIT"}, {"MIT No Attribution License (MIT-0)", "MIT-0"},
		{"Apache Software License", "Apache Software License"},
		{"ISC License (ISCL)", "ISC"}, {"Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"},
		{"Mozilla Public License 1.1 (MPL 1.1)", "MPL-1.1"},
		{"GNU General Public License v2 (GPLv2)", "GPL-2.0-only"},
		{"GNU General Public License v2 or later (GPLv2+)", "GPL-2.0-or-later"},
		{"GNU General Public License v3 (GPLv3)", "GPL-3.0-only"},
		{"GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"},
		{"GNU Lesser General Public License v2 (LGPLv2)", "LGPL-2.0-only"},
		{"GNU Lesser General Public License v2 or later (LGPLv2+)", "LGPL-2.0-or-later"},
		{"GNU Lesser General Public License v3 (LGPLv3)", "LGPL-3.0-only"},
		{"GNU Lesser General Public License v3 or later (LGPLv3+)", "LGPL-3.0-or-later"},
		{"GNU Affero General Public License v3", "AGPL-3.0-only"},
		{"GNU Affero General Public License v3 or later (AGPLv3+)", "AGPL-3.0-or-later"},
		{"Boost Software License 1.0 (BSL-1.0)", "BSL-1.0"}, {"The Unlicense (Unlicense)", "Unlicense"},
		{"zlib/libpng License", "zlib-acknowledgement"}, {"Universal Permissive License (UPL)", "UPL-1.0"},
		{"CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", "CC0-1.0"},
		{"Python Software Foundation License", "Python Software Foundation License"},
		{"Academic Free License (AFL)", "Academic Free License"},
	} {
		if name == known[0] {
			return known[1], true
		}
	}
	return name, true
}

package hostconf

import (
	"fmt"
	"strings"
	"unicode"
)

// ini is a file of sections as Python's configparser reads it.
type ini map[string]map[string]string

// pySpace is what Python's str.strip strips.
func pySpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// parseINI reads the format of Python's configparser.RawConfigParser with its defaults
// (https://docs.python.org/3/library/configparser.html): sections and options once each, "=" or ":" between name and
// value, comments on lines of their own, and values that go on on indented lines.
func parseINI(text string) (ini, error) {
	p := iniParser{out: ini{}}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	for i, line := range strings.Split(text, "\n") {
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	p.end()
	return p.out, nil
}

type iniParser struct {
	out     ini
	section map[string]string // nil: none began
	option  string            // whose value may go on
	value   []string
	indent  int
}

func (p *iniParser) line(line string) error {
	value := strings.TrimFunc(line, pySpace)
	if value == "" {
		if p.option != "" {
			p.value = append(p.value, "")
		}
		return nil
	}
	if value[0] == '#' || value[0] == ';' {
		return nil
	}
	indent := len([]rune(line)) - len([]rune(strings.TrimLeftFunc(line, pySpace)))
	if p.option != "" && indent > p.indent {
		p.value = append(p.value, value)
		return nil
	}
	p.end()
	p.indent = indent
	if end := strings.LastIndexByte(value, ']'); value[0] == '[' && end > 1 {
		return p.begin(value[1:end])
	}
	if p.section == nil {
		return fmt.Errorf("an option stands before the first [section]")
	}
	at := strings.IndexAny(value, "=:")
	if at < 0 {
		return fmt.Errorf("it is neither a [section] nor a name with a value")
	}
	name := strings.ToLower(strings.TrimRightFunc(value[:at], pySpace))
	if name == "" {
		return fmt.Errorf("a value has no name")
	}
	if _, twice := p.section[name]; twice {
		return fmt.Errorf("an option is there twice")
	}
	p.section[name] = "" // it is taken
	p.option, p.value = name, []string{strings.TrimFunc(value[at+1:], pySpace)}
	return nil
}

func (p *iniParser) begin(name string) error {
	if _, twice := p.out[name]; twice && name != "DEFAULT" {
		return fmt.Errorf("a section is there twice")
	}
	if p.out[name] == nil {
		p.out[name] = map[string]string{}
	}
	p.section = p.out[name]
	return nil
}

// end ends the option that is read.
func (p *iniParser) end() {
	if p.option != "" {
		p.section[p.option] = strings.TrimRightFunc(strings.Join(p.value, "\n"), pySpace)
	}
	p.option, p.value = "", nil
}

// get is an option of a section; those of DEFAULT are in each section that is there.
func (f ini) get(section, option string) (string, bool) {
	s, ok := f[section]
	if !ok {
		return "", false
	}
	v, ok := s[option]
	if !ok {
		v, ok = f["DEFAULT"][option]
	}
	return v, ok
}

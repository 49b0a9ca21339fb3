package strictyaml

import (
	"fmt"
	"strings"
)

// Page is the file's reference in Markdown: every key with what it is for, its type, its default and an example.
func (f File) Page() []byte {
	p := page{file: f, bySignature: map[string]*section{}}
	for _, root := range f.Value.Shape().parts("") {
		p.add(root)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n", f.Name, strings.TrimSpace(f.Intro))
	for _, s := range p.sections {
		s.write(&b)
	}
	return []byte(b.String())
}

// page gathers the sections of a reference. Mappings that have the same keys share a section.
type page struct {
	file        File
	sections    []*section
	bySignature map[string]*section
}

// section is the table of one mapping.
type section struct {
	headings []string
	intro    string
	groups   []string // of keys that are described in a section of their own
	keys     []Key
}

// add puts a mapping on the page, and then the mappings in it.
func (p *page) add(at part) {
	heading := "At the top of the file"
	if at.path != "" {
		heading = "`" + at.path + "`"
	}
	own, groups := byGroup(at.keys)
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.name
	}
	if p.section(at.path, &section{headings: []string{heading}, groups: names, keys: own}) {
		return
	}
	for _, g := range groups {
		p.section("", &section{headings: []string{g.name}, intro: p.file.Common[g.name], keys: g.keys})
	}
}

// section puts a table on the page, and then those of the mappings in its keys. It tells whether the table is there
// already.
func (p *page) section(path string, s *section) (known bool) {
	if same := p.bySignature[s.signature()]; same != nil {
		if s.headings[0] != same.headings[0] {
			same.headings = append(same.headings, s.headings...)
		}
		return true
	}
	p.bySignature[s.signature()] = s
	p.sections = append(p.sections, s)
	for _, k := range s.keys {
		for _, inner := range k.Value.Shape().parts(JoinKey(path, k.Name)) {
			p.add(inner)
		}
	}
	return false
}

// signature is what two sections with the same keys have in common.
func (s *section) signature() string {
	var b strings.Builder
	for _, k := range s.keys {
		b.WriteString(k.Name + "\x00" + k.Doc + "\x00")
	}
	return b.String()
}

// keyGroup is a group of keys by its name.
type keyGroup struct {
	name string
	keys []Key
}

// byGroup takes the keys of groups away from the others. The groups are in the order of the description.
func byGroup(keys []Key) (own []Key, groups []keyGroup) {
	at := map[string]int{}
	for _, k := range keys {
		if k.Group == "" {
			own = append(own, k)
			continue
		}
		i, ok := at[k.Group]
		if !ok {
			i = len(groups)
			at[k.Group] = i
			groups = append(groups, keyGroup{name: k.Group})
		}
		groups[i].keys = append(groups[i].keys, k)
	}
	return own, groups
}

func (s *section) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n", strings.Join(s.headings, ", "))
	if s.intro != "" {
		b.WriteString(s.intro + "\n\n")
	}
	for _, g := range s.groups {
		fmt.Fprintf(b, "All of %q below, and:\n\n", g)
	}
	b.WriteString("| Key | What it is for | Type | Default | Example |\n| --- | --- | --- | --- | --- |\n")
	for _, k := range s.keys {
		k.writeRow(b)
	}
}

func (k Key) writeRow(b *strings.Builder) {
	byDefault := k.Default
	if k.Required {
		byDefault = "required"
	}
	example := ""
	if k.Example != "" {
		example = "`" + k.Example + "`"
	}
	cells := []string{"`" + k.Name + "`", k.Doc, k.Value.Shape().words(), byDefault, example}
	for i, c := range cells {
		cells[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(c)
	}
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

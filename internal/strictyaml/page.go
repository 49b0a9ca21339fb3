package strictyaml

import (
	"fmt"
	"strings"
)

// Page is the file's reference in Markdown: every key with what it is for, its type, its default and an example.
func (f File) Page() []byte {
	p := page{file: f, told: map[string]string{}}
	fmt.Fprintf(&p.b, "# %s\n\n%s\n", f.Name, strings.TrimSpace(f.Intro))
	for _, root := range f.Value.Shape().parts("") {
		p.section(root)
	}
	return []byte(p.b.String())
}

// page writes a reference.
type page struct {
	b    strings.Builder
	file File
	told map[string]string // by the names of its keys, the heading under which a mapping was described first
}

// section writes the table of one mapping, and then those of the mappings in it.
func (p *page) section(at part) {
	heading := at.path
	if heading == "" {
		heading = "At the top of the file"
	}
	own, groups := byGroup(at.keys)
	fmt.Fprintf(&p.b, "\n## %s\n\n", headingText(heading))
	for _, g := range groups {
		fmt.Fprintf(&p.b, "All keys of %q, below, and:\n\n", g)
	}
	p.table(own)
	p.below(at.path, own)
	for _, g := range groups {
		if p.told[g] != "" {
			continue
		}
		p.told[g] = heading
		var keys []Key
		for _, k := range at.keys {
			if k.Group == g {
				keys = append(keys, k)
			}
		}
		fmt.Fprintf(&p.b, "\n## %s\n\n%s\n\n", g, p.file.Common[g])
		p.table(keys)
		p.below("", keys)
	}
}

func headingText(path string) string {
	if strings.Contains(path, " ") {
		return path
	}
	return "`" + path + "`"
}

// below writes the sections of the mappings in keys.
func (p *page) below(path string, keys []Key) {
	for _, k := range keys {
		for _, inner := range k.Value.Shape().parts(JoinKey(path, k.Name)) {
			p.section(inner)
		}
	}
}

// byGroup takes the keys of groups away from the others. groups are their names in the order of the description.
func byGroup(keys []Key) (own []Key, groups []string) {
	seen := map[string]bool{}
	for _, k := range keys {
		switch {
		case k.Group == "":
			own = append(own, k)
		case !seen[k.Group]:
			seen[k.Group] = true
			groups = append(groups, k.Group)
		}
	}
	return own, groups
}

func (p *page) table(keys []Key) {
	p.b.WriteString("| Key | What it is for | Type | Default | Example |\n| --- | --- | --- | --- | --- |\n")
	for _, k := range keys {
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
			cells[i] = strings.ReplaceAll(strings.ReplaceAll(c, "|", `\|`), "\n", " ")
		}
		p.b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
}

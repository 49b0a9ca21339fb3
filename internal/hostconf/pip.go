package hostconf

import (
	"path"
	"strings"
)

// pip reads pip's settings (https://pip.pypa.io/en/stable/topics/configuration/): the files of all users, of this
// user, of the virtual environment, that of PIP_CONFIG_FILE, and the variables, each over those before it. [install] of
// any file is over [global] of all.
func (r *reader) pip() {
	var files []ini
	var names []string
	for _, name := range r.pipFiles() {
		data := r.open(name)
		if data == nil {
			continue
		}
		f, err := parseINI(string(data))
		if err != nil {
			r.note("%s is not used: %v", name, err)
			continue
		}
		files, names = append(files, f), append(names, name)
	}
	get := func(option string) Value {
		variable := "PIP_" + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
		if v := r.Getenv(variable); v != "" {
			return Value{Text: v, From: variable}
		}
		for _, section := range []string{"install", "global"} {
			for i := len(files) - 1; i >= 0; i-- {
				if v, ok := files[i].option(section, option); ok {
					if v == "" {
						break // set to nothing: pip takes no other file's of this section
					}
					return Value{Text: v, From: names[i]}
				}
			}
		}
		return Value{}
	}
	if v := get("index-url"); v.Text != "" {
		r.config.PipIndex = r.source(v.Text, v.From)
	}
	if v := get("extra-index-url"); v.Text != "" {
		r.extra(strings.Fields(v.Text), v.From)
	}
	if v := get("keyring-provider"); v.Text == "subprocess" {
		r.config.Keyring = v
	}
	if v := get("cert"); v.Text != "" && v.From != "PIP_CERT" {
		r.cert(v.Text, v.From)
	}
}

// option is an option as pip finds it: with "-" or "_" between its words, and dashes before it.
func (f ini) option(section, name string) (string, bool) {
	under := strings.ReplaceAll(name, "-", "_")
	for _, n := range []string{name, under, "--" + name, "--" + under} {
		if v, ok := f.get(section, n); ok {
			return v, true
		}
	}
	return "", false
}

// pipFiles are pip's files, the most important last.
func (r *reader) pipFiles() []string {
	own := r.Getenv("PIP_CONFIG_FILE")
	if own == "/dev/null" {
		return nil
	}
	var out []string
	for _, dir := range r.configDirs() {
		out = append(out, path.Join(dir, "pip/pip.conf"))
	}
	out = append(out, "/etc/pip.conf")
	if own == "" || !r.exists(own) {
		if home := r.Getenv("HOME"); home != "" {
			out = append(out, path.Join(home, ".pip/pip.conf"))
		}
		if dir := r.configHome(); dir != "" {
			out = append(out, path.Join(dir, "pip/pip.conf"))
		}
	}
	if venv := r.Getenv("VIRTUAL_ENV"); venv != "" {
		out = append(out, path.Join(r.abs(venv), "pip.conf"))
	}
	if own != "" {
		out = append(out, r.abs(own))
	}
	return out
}

// extra takes down further indexes, which are shown and not used: any of them could answer for any package. Their
// logins are for those that the recipe names itself, with their packages.
func (r *reader) extra(urls []string, from string) {
	used := false
	for _, raw := range urls {
		v, login, err := parseSource(raw)
		if err == nil {
			r.login(v.Text, login)
			v.From, used = from, true
			r.config.PipExtra = append(r.config.PipExtra, v)
		}
	}
	if used {
		r.note("the further indexes of %s are not used, as any of them could answer for any package: "+
			"name them with their packages under pip.extra_indexes of the recipe", from)
	}
}

package layers

import "slices"

// Local lists the paths of the files that the recipe reads, relative to the recipe and as the recipe writes them:
// environment, requirements, locks of other tools, keys, own wheels, and files to copy. Sorted.
func (r *Recipe) Local() []string {
	out := slices.Concat(r.Pip.Requirements, r.Pip.Wheels)
	for _, name := range append(aptKeys(r.Apt), r.Env.File, r.Pip.Pylock.File) {
		if name != "" {
			out = append(out, name)
		}
	}
	for _, f := range r.Files {
		out = append(out, f.From)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Fetched are the artifacts of the platform that come from package sources, each once: those that do not lie beside
// the recipe.
func (l *LockPlatform) Fetched() []Artifact {
	var out []Artifact
	seen := map[string]bool{}
	for _, a := range l.artifacts() {
		if a.Origin != originLocal && !seen[a.SHA256] {
			seen[a.SHA256] = true
			out = append(out, a)
		}
	}
	return out
}

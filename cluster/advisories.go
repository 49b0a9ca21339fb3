package cluster

// Advisory is a published vulnerability of Ray that a launcher's user should know of.
type Advisory struct {
	// ID is a CVE, or the issue where there is none: "ray#64701".
	ID string
	// Fixed is the first version without it; "": no version is.
	Fixed string
	// Text is one line.
	Text string
}

// Advisories lists those of a Ray version. It lists none if the version cannot be parsed. Token authentication, which
// closes some of them, is taken to be off.
func Advisories(ray string) []Advisory {
	var out []Advisory
	for _, c := range vulnerabilities(ray, false) {
		out = append(out, Advisory{ID: c.ID, Fixed: c.Fixed, Text: c.Text})
	}
	return out
}

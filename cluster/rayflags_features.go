package cluster

// CVE is a published hole of a Ray version.
type CVE struct {
	ID     string
	Fixed  string // first version without it; empty: none
	Text   string // one line
	Source string // where it was read
}

// holes are those that a launcher's user should know of; the list is by the version that mends them.
func holes() []CVE {
	return []CVE{
		{"CVE-2023-6019", "2.8.1", "commands of anyone who reaches the dashboard run through cpu_profile", "CVE record; Ray 2.8.1 release notes"},
		{"CVE-2023-6020", "2.8.1", "anyone who reaches the dashboard reads files (static path)", "CVE record; Ray 2.8.1 release notes"},
		{"CVE-2023-6021", "2.8.1", "anyone who reaches the dashboard reads files (log API)", "CVE record; Ray 2.8.1 release notes"},
		{"CVE-2026-32981", "2.8.1", "path traversal in the dashboard, up to 2.8.0", "CVE record"},
		{"CVE-2025-1979", "2.43.0", "the Redis password is written to the log", "CVE record"},
		{"CVE-2025-62593", "2.52.0", "a web page open in the browser runs code through a dashboard on localhost (DNS rebinding)", "GHSA-q279-jhrf-cc6v"},
		{"CVE-2023-48022", "2.52.0", "the jobs API runs code for anyone who reaches it; token authentication, the mend, came with 2.52", "CVE record, updated 2025-12-17"},
		{"CVE-2026-27482", "2.54.0", "DELETE on the dashboard needs no authentication", "PYSEC-2026-2271"},
		{"CVE-2026-57516", "2.56.0", "reading a WebDataset unpickles what is in it", "CVE record"},
	}
}

// Vulnerabilities lists the known holes of a Ray version; none for one that cannot be parsed.
func Vulnerabilities(ray string) []CVE {
	v, err := parseVersion(ray)
	if err != nil {
		return nil
	}
	var out []CVE
	for _, c := range holes() {
		if fixed, err := parseVersion(c.Fixed); err != nil || v.compare(fixed) < 0 {
			out = append(out, c)
		}
	}
	return out
}

// Features says what a launcher may ask of a Ray version. HTTP paths need ray[default] in the image.
type Features struct {
	Token       bool   // token authentication (2.52)
	JobsAPI     bool   // POST /api/jobs/ and GET /api/version (1.9, ray#20622)
	StateAPI    bool   // GET /api/v0/nodes (2.0)
	Status      bool   // `ray status` (1.0)
	HealthCmd   bool   // `ray health-check` (1.4, ray#15429)
	NodeName    bool   // nodes report the name that they were started with
	HeadHealth  string // path on the dashboard's port: /api/gcs_healthz from 2.0 (ray#26408); empty: none
	AgentHealth string // path on the agent's port: /api/healthz from 2.53 (ray#56943), /api/local_raylet_healthz from 2.0; empty: none
}

// FeaturesOf returns the features of a Ray version. It fails on a version before 0.8.6 or one that cannot be parsed.
func FeaturesOf(ray string) (Features, error) {
	v, err := supported(ray)
	if err != nil {
		return Features{}, err
	}
	f := Features{Token: hasToken(v), JobsAPI: v.atLeast(1, 9), StateAPI: v.atLeast(2, 0), Status: v.atLeast(1, 0),
		HealthCmd: v.atLeast(1, 4), NodeName: flagIn(v, "--node-name")}
	if v.atLeast(2, 0) {
		f.HeadHealth, f.AgentHealth = "/api/gcs_healthz", "/api/local_raylet_healthz"
	}
	if v.atLeast(2, 53) {
		f.AgentHealth = "/api/healthz"
	}
	return f, nil
}

package cluster

import (
	"bytes"
	_ "embed"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed data/vulnerabilities.yaml
var vulnerabilityData []byte

// cve is a published vulnerability of Ray.
type cve struct {
	ID     string `yaml:"id"`
	Since  string `yaml:"since"`  // first version that has it; empty: from the beginning
	Fixed  string `yaml:"fixed"`  // first version without it; empty: none
	Token  bool   `yaml:"token"`  // token authentication, where it is on, closes it
	Text   string `yaml:"text"`   // one line
	Source string `yaml:"source"` // where it was read
}

// cure says what closes the vulnerability.
func (c cve) cure() string {
	if c.Fixed == "" {
		return "token authentication, in 2.52.0 and later, closes it"
	}
	return "fixed in " + c.Fixed
}

// holes are those that a launcher's user should know of; the list is by the version that mends them.
//
//nolint:gochecknoglobals // a table of facts that nothing writes to
var holes = sync.OnceValue(func() []cve {
	var out []cve
	dec := yaml.NewDecoder(bytes.NewReader(vulnerabilityData))
	dec.KnownFields(true)
	if err := dec.Decode(&out); err != nil {
		panic("cluster: own table: " + err.Error()) //nolint:forbidigo // part of the program, and read by a test
	}
	return out
})

// vulnerabilities lists the known ones of a Ray version, and none if the version cannot be parsed. token
// says whether token authentication is on, which Ray before 2.52 has not.
func vulnerabilities(ray string, token bool) []cve {
	v, err := parseVersion(ray)
	if err != nil {
		return nil
	}
	token = token && hasToken(v)
	var out []cve
	for _, c := range holes() {
		since, noSince := parseVersion(c.Since)
		fixed, noFixed := parseVersion(c.Fixed)
		if noSince == nil && v.compare(since) < 0 || noFixed == nil && v.compare(fixed) >= 0 || c.Token && token {
			continue
		}
		out = append(out, c)
	}
	return out
}

// features says what a launcher may ask of a Ray version. HTTP paths need ray[default] in the image.
type features struct {
	Token      bool   // token authentication (2.52)
	JobsAPI    bool   // POST /api/jobs/ and GET /api/version (1.9, ray#20622)
	StateAPI   bool   // GET /api/v0/nodes (2.0)
	Status     bool   // `ray status` (1.0)
	HealthCmd  bool   // `ray health-check` (1.4, ray#15429)
	NodeName   bool   // nodes report the name that they were started with
	HeadHealth string // path on the dashboard's port: /api/gcs_healthz from 2.0 (ray#26408); empty: none
	// path on the agent's port: /api/healthz from 2.53 (ray#56943), /api/local_raylet_healthz from
	// 2.0; empty: none
	AgentHealth string
}

// featuresOf returns the features of a Ray version. It fails on a version before 0.8.6 or one that cannot be parsed.
func featuresOf(ray string) (features, error) {
	v, err := supported(ray)
	if err != nil {
		return features{}, err
	}
	f := features{Token: hasToken(v), JobsAPI: v.atLeast(1, 9), StateAPI: v.atLeast(2, 0), Status: v.atLeast(1, 0),
		HealthCmd: v.atLeast(1, 4), NodeName: flagIn(v, "--node-name")}
	if v.atLeast(2, 0) {
		f.HeadHealth, f.AgentHealth = "/api/gcs_healthz", "/api/local_raylet_healthz"
	}
	if v.atLeast(2, 53) {
		f.AgentHealth = "/api/healthz"
	}
	return f, nil
}

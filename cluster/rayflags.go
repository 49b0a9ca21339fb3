package cluster

import "errors"

// StartInput is what `ray start` is told about a node.
type StartInput struct {
	Role        Role
	Address     string // of this node, as other nodes reach it
	HeadAddress string // host:port of the GCS; workers only
	CPUs        int
	GPUs        float64
	Memory      int64 // bytes; 0: not passed
	ObjectStore int64 // bytes
	Resources   map[string]float64
	Labels      map[string]string
	Ports       Ports
	TempDir     string
	Client      bool // open the Ray Client port on the head, where the version has it
	Extra       []string
}

// StartArgs returns the argv of `ray start …` for a version of Ray, with no flag that this version does not have.
func StartArgs(version string, n StartInput) ([]string, error) { return nil, errors.New("start args") }

// EnvInput is what the environment of a node's container depends on.
type EnvInput struct {
	Role      Role
	Address   string // RAY_ADDRESS: host:port of the GCS
	TokenPath string // empty: authentication is off
}

// Env returns the variables that a node of this Ray version needs.
func Env(version string, n EnvInput) (map[string]string, error) { return nil, errors.New("env") }

// CVE is a published hole of a Ray version.
type CVE struct {
	ID     string
	Fixed  string // first version without it; empty: none
	Text   string // one line
	Source string // where it was read
}

// Vulnerabilities lists the known holes of a Ray version.
func Vulnerabilities(version string) []CVE { return nil }

// Features says what a launcher may ask of a Ray version.
type Features struct {
	Token       bool   // token authentication (2.52)
	JobsAPI     bool   // POST /api/jobs/ (1.9)
	StateAPI    bool   // GET /api/v0/nodes (2.0)
	Status      bool   // `ray status`
	HealthCmd   bool   // `ray health-check` (1.4)
	HeadHealth  string // path on the dashboard port, "" when there is none: /api/gcs_healthz
	AgentHealth string // path on the agent's port: /api/healthz from 2.53, /api/local_raylet_healthz before
	Version     bool   // GET /api/version (1.9)
}

// FeaturesOf returns the features of a Ray version.
func FeaturesOf(version string) (Features, error) { return Features{}, errors.New("features") }

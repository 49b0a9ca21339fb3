package raybuild

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/internal/sources"
)

// Diagnosis says what this machine can build with. Its JSON is that of "raybuild doctor --json".
type Diagnosis struct {
	Builder  string        `json:"builder"`            // the builder that a build would use; "": there is none
	BuildKit string        `json:"buildkit,omitempty"` // the builder's version
	Merge    bool          `json:"merge"`              // the builder can merge and diff layers
	Findings []Finding     `json:"findings"`
	Host     []HostSetting `json:"host"`            // configuration of this machine's pip, uv, conda and apt
	Notes    []string      `json:"notes,omitempty"` // notes on this configuration
}

// Finding is the result of one check.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"` // the command that fixes it
}

// HostSetting is one setting of the machine's configuration.
type HostSetting struct {
	What string `json:"what"`
	Text string `json:"value"` // without user, password and token
	From string `json:"from"`  // the file or variable that sets it
}

// Doctor checks this machine. It says which builder a build with these options would use, what
// other builders lack, and from where packages would be fetched.
func Doctor(ctx context.Context, o Options) *Diagnosis {
	e := newEnv(o)
	found := builder.Examine(ctx, e.builder())
	d := &Diagnosis{Builder: found.Builder, BuildKit: found.BuildKit, Merge: found.Merge,
		Findings: []Finding{e.findHome()}, Host: []HostSetting{}, Notes: e.host().Notes}
	for _, f := range found.Findings {
		d.Findings = append(d.Findings, Finding(f))
	}
	if e.builder().Named() == "" {
		d.Findings = append(d.Findings, e.findCredentials())
	}
	for _, p := range sources.HostPlaces(e.host()) {
		d.Host = append(d.Host, HostSetting{What: p.Part, Text: p.URL, From: p.From})
	}
	return d
}

// findHome checks whether raybuild's own directory is writable.
func (e *env) findHome() Finding {
	home, err := e.MakeHome()
	if err != nil {
		return Finding{Name: "directory", Detail: err.Error(), Fix: "export RAYBUILD_HOME=DIRECTORY"}
	}
	f, err := os.CreateTemp(home, ".doctor-")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return Finding{Name: "directory", Detail: err.Error(),
			Fix: "export RAYBUILD_HOME=DIRECTORY that this user can write"}
	}
	return Finding{Name: "directory", OK: true, Detail: home}
}

// findCredentials finds the file with credentials for registries. A missing file is fine,
// because public images need none.
func (e *env) findCredentials() Finding {
	dir := e.getenv("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(e.getenv("HOME"), ".docker")
	}
	file := filepath.Join(dir, "config.json")
	detail := file
	if _, err := os.Stat(file); err != nil {
		detail = "none (" + file + " is not there); docker login HOST makes some"
	}
	return Finding{Name: "credentials", OK: true, Detail: detail}
}

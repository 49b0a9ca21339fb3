package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/llb"
)

func (a *app) doctorCommand() *cobra.Command {
	var (
		o      builderOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is missing here, and the command that mends it",
		Long: `doctor looks at this machine: what the embedded engine needs (a container
runtime, root or a user namespace, overlayfs, disk), the Docker Engine,
raybuild's own directory, and where pip, uv, conda and apt of this machine fetch
from (the mirror "host" of a recipe). It says which builder a build would use,
why it cannot use others, and for each missing thing the command that installs
it.

Exit code 1 means that nothing here can build.`,
		Example: "  raybuild doctor\n  raybuild doctor --builder tcp://builder.example:1234\n  raybuild doctor --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := a.examine(cmd.Context(), o)
			if err := a.printDiagnosis(r, asJSON); err != nil {
				return err
			}
			if r.Builder == "" {
				return errors.New("nothing here can build: mend one of the above")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.builder, "builder", "", "BuildKit to look at, as a build names it (default: as "+
		"for a build)")
	insecureFlag(cmd.Flags(), &o.insecure)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// diagnosis is what doctor reports.
type diagnosis struct {
	Builder  string           `json:"builder"`            // that a build would take; "" for none
	BuildKit string           `json:"buildkit,omitempty"` // its version
	Merge    bool             `json:"merge"`              // it can merge and diff
	Findings []engine.Finding `json:"findings"`
	Host     []hostPart       `json:"host"`            // what this machine's pip, uv, conda and apt are configured with
	Notes    []string         `json:"notes,omitempty"` // on that
}

// examine looks at everything, the builders in the order in which a build would take them.
func (a *app) examine(ctx context.Context, o builderOptions) diagnosis {
	host := a.host()
	d := diagnosis{Findings: []engine.Finding{a.findHome()}, Host: hostParts(host), Notes: host.Notes}
	o.builder = a.builderChoice(o).Named()
	if o.builder != "" {
		d.Findings = append(d.Findings, a.findBuilder(ctx, &d, "builder "+o.builder, o,
			"check the address, and that BuildKit runs there"))
		return d
	}
	if home, err := a.home(); err == nil {
		d.Findings = append(d.Findings, engine.Check(ctx, engine.Options{Home: home, Insecure: o.insecure})...)
	}
	embedded := true
	for _, f := range d.Findings[1:] {
		embedded = embedded && f.OK
	}
	if embedded {
		d.Builder, d.Merge = builder.Embedded, true
	}
	docker := o
	docker.builder = builder.Docker
	fix := "start Docker, or give this user access to its socket: only needed where the embedded engine cannot run"
	d.Findings = append(d.Findings, a.findBuilder(ctx, &d, "docker engine", docker, fix), a.findCredentials())
	return d
}

// findBuilder connects to a builder; the first that answers is the one that a build takes.
func (a *app) findBuilder(ctx context.Context, d *diagnosis, name string, o builderOptions, fix string) engine.Finding {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	b, err := builder.Connect(ctx, a.builderChoice(o))
	if err != nil {
		return engine.Finding{Name: name, Detail: err.Error(), Fix: fix}
	}
	info, err := b.Info(ctx)
	if err = errors.Join(err, b.Close()); err != nil {
		return engine.Finding{Name: name, Detail: err.Error(), Fix: fix}
	}
	if d.Builder == "" {
		d.Builder, d.BuildKit, d.Merge = b.Engine, info.Version, info.Merge
	}
	return engine.Finding{Name: name, OK: true, Detail: describeBuilder(info)}
}

func describeBuilder(info llb.Info) string {
	var platforms []string
	for _, p := range info.Platforms {
		platforms = append(platforms, llb.FormatPlatform(p))
	}
	merge := "can merge layers"
	if !info.Merge {
		merge = "cannot merge layers: the layers stand in a line, and an edit rebuilds all layers after it"
	}
	return strings.TrimSpace(fmt.Sprintf("BuildKit %s for %s; %s", info.Version, strings.Join(platforms, ", "), merge))
}

// findHome tells whether raybuild's own directory can be written.
func (a *app) findHome() engine.Finding {
	home, err := a.makeHome()
	if err != nil {
		return engine.Finding{Name: "directory", Detail: err.Error(), Fix: "export RAYBUILD_HOME=DIRECTORY"}
	}
	f, err := os.CreateTemp(home, ".doctor-")
	if err != nil {
		return engine.Finding{Name: "directory", Detail: err.Error(),
			Fix: "export RAYBUILD_HOME=DIRECTORY that this user can write"}
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return engine.Finding{Name: "directory", Detail: err.Error(),
			Fix: "export RAYBUILD_HOME=DIRECTORY that this user can write"}
	}
	return engine.Finding{Name: "directory", OK: true, Detail: home}
}

// findCredentials tells where registry credentials are read from. None is fine: public images need none.
func (a *app) findCredentials() engine.Finding {
	dir := a.getenv("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(a.getenv("HOME"), ".docker")
	}
	file := filepath.Join(dir, "config.json")
	detail := file
	if _, err := os.Stat(file); err != nil {
		detail = "none (" + file + " is not there); docker login HOST makes some"
	}
	return engine.Finding{Name: "credentials", OK: true, Detail: detail}
}

func (a *app) printDiagnosis(d diagnosis, asJSON bool) error {
	if asJSON {
		return a.printJSON(d)
	}
	rows := [][]string{{"", "WHAT", "FOUND"}}
	for _, f := range d.Findings {
		mark := "ok"
		if !f.OK {
			mark = "-"
		}
		rows = append(rows, []string{mark, f.Name, f.Detail})
		if f.Fix != "" {
			rows = append(rows, []string{"", "", "to mend: " + f.Fix})
		}
	}
	for _, p := range d.Host {
		rows = append(rows, []string{"ok", "host " + p.What, p.Text + " (" + p.From + ")"})
	}
	for _, n := range d.Notes {
		rows = append(rows, []string{"-", "host", n})
	}
	builder := d.Builder
	if builder == "" {
		builder = "none"
	}
	return a.print("%s\n\nbuilder: %s", table(rows), builder)
}

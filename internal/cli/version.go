package cli

import (
	"regexp"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildkitModule is the module of the build engine.
const buildkitModule = "github.com/moby/buildkit"

// versionInfo is what "version --json" prints.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`   // git's commit, with "-dirty" if files were changed; "": not known
	BuildKit string `json:"buildkit"` // version of the linked module, as "v0.34.2"; "": not known
	Go       string `json:"go"`
	Platform string `json:"platform"` // as "linux/amd64"
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `version prints raybuild's version.

With --json it also prints the commit that raybuild was built from, the version
of the linked BuildKit, the Go version, and the platform.`,
		Example: "  raybuild version\n  raybuild version --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				info, _ := debug.ReadBuildInfo()
				return a.printJSON(newVersionInfo(a.versionText(), info))
			}
			return a.print("raybuild %s", a.versionText())
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// newVersionInfo reads the build information in the program. info is nil if there is none.
func newVersionInfo(version string, info *debug.BuildInfo) versionInfo {
	out := versionInfo{
		Version: version, Commit: commitOf(version, info),
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info == nil {
		return out
	}
	for _, m := range info.Deps {
		if m.Path != buildkitModule {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		out.BuildKit = m.Version
	}
	return out
}

// commitOf returns the commit that go build recorded. Without git's history, the version contains
// the commit: "git describe" gives "v0.1.0-3-gdeee213", and an untagged module has
// "v0.0.0-20261129161906-deee2132d872".
func commitOf(version string, info *debug.BuildInfo) string {
	if commit := setting(info, "vcs.revision"); commit != "" {
		if setting(info, "vcs.modified") == "true" {
			commit += "-dirty"
		}
		return commit
	}
	named := regexp.MustCompile(`^(?:v.*(?:-g|[-.]\d{14}-))?([0-9a-f]{7,40}(?:-dirty)?)$`).FindStringSubmatch(version)
	if named == nil {
		return ""
	}
	return named[1]
}

// setting returns a value of the build information, or "".
func setting(info *debug.BuildInfo, key string) string {
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

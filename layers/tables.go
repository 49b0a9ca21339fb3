package layers

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The tables of known breakages, installers and releases of Ubuntu. They are data, not code:
// each row says where it comes from.
var (
	//go:embed data/breakages.yaml
	breakageData []byte
	//go:embed data/installers.yaml
	installerData []byte
	//go:embed data/ubuntu.yaml
	ubuntuData []byte
)

// breakageRow is a constraint that some releases of Ray need today: Pin is pip's,
// Conda one for the environment that conda makes.
type breakageRow struct {
	Pin    string   `yaml:"pin"`
	Conda  string   `yaml:"conda"`
	Since  string   `yaml:"since"`
	Until  string   `yaml:"until"`
	Extra  []string `yaml:"extra"`
	Why    string   `yaml:"why"`
	Source string   `yaml:"source"`
}

// installerRow is a known installer.
type installerRow struct {
	Distribution string            `yaml:"distribution"`
	Version      string            `yaml:"version"`
	Machines     []string          `yaml:"machines"` // the only ones it was built for; empty: not known
	SHA256       map[string]string `yaml:"sha256"`   // by machine
	Source       string            `yaml:"source"`
}

// releaseRow is a release of Ubuntu.
type releaseRow struct {
	Version  string `yaml:"version"`
	Codename string `yaml:"codename"`
	Glibc    string `yaml:"glibc"`
	EOL      string `yaml:"eol"`
	Moved    bool   `yaml:"moved"`
	Source   string `yaml:"source"`
}

// lts tells a release with long-term support: April's of an even year.
func (r releaseRow) lts() bool {
	year, month, _ := strings.Cut(r.Version, ".")
	return month == "04" && versionPart([]string{year}, 0)%2 == 0
}

func tableOf[T any](data *[]byte) func() []T {
	return sync.OnceValue(func() []T {
		var rows []T
		readTable(*data, &rows)
		return rows
	})
}

//nolint:gochecknoglobals // tables of facts that nothing writes to
var (
	breakageRows  = tableOf[breakageRow](&breakageData)
	installerRows = tableOf[installerRow](&installerData)
	ubuntuRows    = tableOf[releaseRow](&ubuntuData)
)

func ubuntuRelease(is func(releaseRow) bool) (releaseRow, bool) {
	i := slices.IndexFunc(ubuntuRows(), is)
	if i < 0 {
		return releaseRow{}, false
	}
	return ubuntuRows()[i], true
}

// newestInstaller is the newest known installer of a distribution. Which Python
// conda itself runs on does not matter to the environment.
func newestInstaller(distribution string) string {
	for _, r := range installerRows() {
		if r.Distribution == distribution {
			return r.Version
		}
	}
	return ""
}

// machineOf is the name that conda's installers and the kernel have for the
// architecture of a platform: "x86_64" for linux/amd64.
func machineOf(platform string) string {
	arch := strings.TrimPrefix(platform, "linux/")
	switch arch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return arch
}

// Installer is the installer of a platform as an artifact. Its SHA256 comes from the recipe, else from
// the table of known installers, else it is "".
func (m Miniconda) Installer(platform string) Artifact {
	machine := machineOf(platform)
	a := Artifact{Kind: KindInstaller, Name: m.Distribution, Version: m.Version, Origin: m.Distribution,
		SHA256: m.SHA256}
	if m.Distribution == "miniforge" {
		a.Path = fmt.Sprintf("%s/Miniforge3-%s-Linux-%s.sh", m.Version, m.Version, machine)
	} else {
		a.Path = fmt.Sprintf("Miniconda3-%s-Linux-%s.sh", m.Version, machine)
	}
	if a.SHA256 == "" {
		a.SHA256 = m.row().SHA256[machine]
	}
	return a
}

// installerIndex is where a distribution publishes the digests of its installers.
func installerIndex(distribution string) string {
	if distribution == "miniforge" {
		return "https://github.com/conda-forge/miniforge/releases"
	}
	return "https://repo.anaconda.com/miniconda/"
}

// row is the installer's row of the table, or the zero row.
func (m Miniconda) row() installerRow {
	for _, r := range installerRows() {
		if r.Distribution == m.Distribution && r.Version == m.Version {
			return r
		}
	}
	return installerRow{}
}

// minGlibc is the oldest glibc that the installer runs on: Miniconda from 24.11
// on says "Installer requires GLIBC >=2.28", Miniforge needs 2.17. It is "" for
// older Minicondas, of which none is known to ask.
func (m Miniconda) minGlibc() string {
	if m.Distribution == "miniforge" {
		return "2.17"
	}
	v := m.Version
	if _, after, ok := strings.Cut(v, "_"); ok {
		v = after
	}
	v, _, _ = strings.Cut(v, "-")
	if compareDotted(v, "24.11") >= 0 {
		return "2.28"
	}
	return ""
}

// compareDotted compares dotted numbers; what is no number counts as 0, and
// what follows the numbers (rc1, .post1) does not count.
func compareDotted(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		x, y := versionPart(as, i), versionPart(bs, i)
		if x != y {
			return x - y
		}
	}
	return 0
}

func versionPart(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	digits := parts[i]
	for j, r := range digits {
		if r < '0' || r > '9' {
			digits = digits[:j]
			break
		}
	}
	n, _ := strconv.Atoi(digits)
	return n
}

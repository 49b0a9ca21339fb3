package layers

import (
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // conda's own name for a package; digests are sha256
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/llb"
)

// resolveInstaller pins the conda installer: its digest is in the recipe or in
// the table of known ones, for nothing on a mirror could vouch for it.
func resolveInstaller(ctx context.Context, r *Resolver, m Miniconda) ([]Artifact, error) {
	if err := checkGlibc(m, r.locked.Tool.Reference, r.locked.Tool.Glibc); err != nil {
		return nil, err
	}
	a := m.Installer(r.name)
	if a.SHA256 == "" {
		return nil, fmt.Errorf("the digest of %s is not known: put it into the recipe as miniconda.sha256 (its "+
			"publisher lists it at %s)",
			a.Filename(), originURL(a.Origin))
	}
	var err error
	if a.Size, err = r.size(ctx, a.URL()); err != nil {
		return nil, err
	}
	return []Artifact{a}, nil
}

// resolveEnv asks the conda of the miniconda layer which packages the
// environment is made of. The old ones hold where conda can agree.
func resolveEnv(ctx context.Context, r *Resolver, e env) ([]Artifact, error) {
	channels, err := condaChannels(r, e)
	if err != nil {
		return nil, err
	}
	args := []string{condaPrefix, "-p", e.prefix(), "--override-channels"}
	for _, c := range channels {
		args = append(args, "-c", c)
	}
	// conda adds pip by itself unless it is configured not to.
	args = append(args, "python="+e.Python, "pip")
	args = append(args, e.Conda...)
	if e.file != nil {
		args = append(args, e.file.Conda...)
	}
	args = append(args, e.pins...)
	vars := map[string]string{
		"CONDA_NUMBER_CHANNEL_NOTICES": "0",
		// The answer must not depend on the machine that asks.
		"CONDA_OVERRIDE_GLIBC":    r.locked.Tool.Glibc,
		"CONDA_OVERRIDE_LINUX":    "5.10",
		"CONDA_OVERRIDE_ARCHSPEC": map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[r.platform.Architecture],
		// Empty: there is no GPU, whatever the builder has.
		"CONDA_OVERRIDE_CUDA": e.CUDA,
		// conda leaves out of FETCH what it has, so it must have nothing.
		"CONDA_PKGS_DIRS": tmp + "/packages",
		// conda before 23 cannot take .conda archives from a directory
		// (measured on 4.12.0).
		"CONDA_USE_ONLY_TAR_BZ2": strconv.FormatBool(oldConda(r.locked.layer("miniconda"))),
	}
	if e.accept {
		vars["CONDA_PLUGINS_AUTO_ACCEPT_TOS"] = "yes"
	}
	if pins := condaPins(r, e); pins != "" {
		vars["CONDA_PINNED_PACKAGES"] = pins
		if artifacts, err := askConda(ctx, r, vars, args); err == nil || ctx.Err() != nil {
			return artifacts, err
		}
		r.in.Log("env: not all packages can stay as they were; asking conda again")
		delete(vars, "CONDA_PINNED_PACKAGES")
	}
	artifacts, err := askConda(ctx, r, vars, args)
	if err != nil {
		return nil, cudaHint(e, err)
	}
	return artifacts, nil
}

// cudaHint adds what to do where conda has no answer for want of a GPU.
func cudaHint(e env, err error) error {
	switch {
	case !strings.Contains(err.Error(), "__cuda"):
		return err
	case e.CUDA == "":
		return fmt.Errorf("%w\na package needs a GPU (__cuda), and a build has none: set env.cuda to the CUDA version "+
			"of the driver on your hosts, which nvidia-smi shows, such as env.cuda: \"12.6\"", err)
	}
	return fmt.Errorf("%w\na package needs another CUDA (__cuda) than env.cuda: %q: set env.cuda to what the driver "+
		"on your hosts has, which nvidia-smi shows, or name a version of the package that takes it", err, e.CUDA)
}

func askConda(ctx context.Context, r *Resolver, vars map[string]string, args []string) ([]Artifact, error) {
	out, err := r.Run(ctx, r.stack.ToolStage, "[env] resolve "+shorten(args[len(args)-1:], 60), envResolveText, vars,
		[]llb.Mount{{Path: condaPrefix, Stage: r.stack.Tree("[env] conda", "miniconda"), From: condaPrefix,
			Write: true}}, args...)
	if err != nil {
		return nil, err
	}
	packages, err := parseSolution(out["solution.json"])
	if err != nil {
		if text := strings.TrimSpace(string(out["stderr"])); text != "" {
			return nil, fmt.Errorf("%w; conda says: %s", err, text)
		}
		return nil, err
	}
	for i := range packages {
		if packages[i].SHA256 == "" {
			if err := r.hash(ctx, &packages[i]); err != nil {
				return nil, err
			}
		}
	}
	return packages, nil
}

// oldConda tells whether an installer brings a conda from before 23.
func oldConda(locked []Artifact) bool {
	if len(locked) != 1 {
		return false
	}
	version := locked[0].Version
	if i := strings.LastIndex(version, "_"); i >= 0 {
		version = version[i+1:]
	}
	return compareDotted(strings.SplitN(version, "-", 2)[0], "23") < 0
}

// condaPins are the old packages in the form of conda's pinned_packages,
// without those that the recipe names itself.
func condaPins(r *Resolver, e env) string {
	if r.updates("env") {
		return ""
	}
	named := append(e.asked(), "python")
	var pins []string
	for _, a := range r.old.layer("env") {
		if !slices.Contains(named, a.Name) {
			pins = append(pins, a.Name+"="+a.Version)
		}
	}
	return strings.Join(pins, "&")
}

// condaChannels are the canonical URLs of the channels, as the sandbox asks for
// them. Anaconda's own need a word from the user.
func condaChannels(r *Resolver, e env) ([]string, error) {
	names := e.Channels
	if e.file != nil && len(e.file.Channels) > 0 {
		names = e.file.Channels
	}
	var out []string
	for _, name := range names {
		origins := []string{name}
		if name == "defaults" {
			origins = []string{"pkgs/main", "pkgs/r"}
		}
		for _, origin := range origins {
			if strings.HasPrefix(origin, "pkgs/") && !e.accept {
				return nil, fmt.Errorf("channel %q is under Anaconda's terms of service "+
					"(https://www.anaconda.com/legal); set miniconda.accept_anaconda_terms: true if you accept them, "+
					"or use env.channels: [conda-forge]", name)
			}
			asked, err := r.allow(originURL(origin))
			if err != nil {
				return nil, fmt.Errorf("read channel %q: %w", name, err)
			}
			out = append(out, asked)
		}
	}
	return out, nil
}

// parseSolution reads the answer of conda create --dry-run --json (4.12 to
// 26.7). FETCH comes in random order; that is the caller's to mend.
func parseSolution(data []byte) ([]Artifact, error) {
	var solution struct {
		Actions struct {
			Fetch []struct {
				Name, Version, Build, URL, MD5, SHA256, Subdir string
				Size                                           int64
			} `json:"FETCH"`
			Link []struct{ Name string } `json:"LINK"`
		} `json:"actions"`
		ExceptionName string `json:"exception_name"`
		Message       string `json:"message"`
		Error         string `json:"error"`
	}
	if err := json.Unmarshal(data, &solution); err != nil {
		return nil, fmt.Errorf("read conda's answer %q: %w", head(data), err)
	}
	if solution.ExceptionName != "" {
		return nil, fmt.Errorf("conda cannot make the environment (%s): %s", solution.ExceptionName,
			cmp.Or(solution.Message, solution.Error))
	}
	if len(solution.Actions.Fetch) != len(solution.Actions.Link) || len(solution.Actions.Link) == 0 {
		return nil, fmt.Errorf("read conda's answer: it links %d packages and fetches %d; they should be as many",
			len(solution.Actions.Link), len(solution.Actions.Fetch))
	}
	var out []Artifact
	for _, p := range solution.Actions.Fetch {
		origin, path, ok := originOf(strings.Replace(p.URL, "http://", "https://", 1))
		if !ok {
			if origin, path, ok = ownChannel(p.URL, p.Subdir); !ok {
				return nil, fmt.Errorf("read conda's answer: package %s has the URL %q, of no channel", p.Name, p.URL)
			}
		}
		out = append(out, Artifact{
			Kind: KindConda, Name: p.Name, Version: p.Version, Origin: origin, Path: path,
			SHA256: p.SHA256, MD5: p.MD5, Size: p.Size, For: map[string]string{"build": p.Build},
		})
	}
	return out, nil
}

// ownChannel splits the URL of a package of an own channel before its subdir.
func ownChannel(raw, subdir string) (origin, path string, ok bool) {
	if subdir == "" {
		return "", "", false
	}
	root, rest, ok := strings.Cut(raw, "/"+subdir+"/")
	return root, subdir + "/" + rest, ok
}

// hash fills in digests that a source does not give, by reading the file.
func (r *Resolver) hash(ctx context.Context, a *Artifact) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL(), nil)
	if err != nil {
		return err
	}
	resp, err := r.Client().Do(req)
	if err != nil {
		return fmt.Errorf("read %q for its digest: %w", a.URL(), err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("read %q for its digest: %s", a.URL(), resp.Status)
	}
	strong, weak := sha256.New(), md5.New() //nolint:gosec // see the import
	if a.Size, err = io.Copy(io.MultiWriter(strong, weak), resp.Body); err != nil {
		return fmt.Errorf("read %q for its digest: %w", a.URL(), err)
	}
	if got := hex.EncodeToString(weak.Sum(nil)); a.MD5 != "" && a.MD5 != got {
		return fmt.Errorf("read %q for its digest: md5 is %s, the channel says %s", a.URL(), got, a.MD5)
	}
	a.SHA256 = hex.EncodeToString(strong.Sum(nil))
	return nil
}

func head(data []byte) string {
	if len(data) > 200 {
		return string(data[:200]) + "…"
	}
	return string(data)
}

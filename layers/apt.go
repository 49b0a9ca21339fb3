package layers

import (
	"context"
	"fmt"
	"strings"

	"github.com/raybuild/raybuild/llb"
)

// apt installs Debian packages. It is bound to the base: dpkg's files cannot be merged.
type apt struct{ Apt }

func (apt) Name() string    { return "apt" }
func (apt) Needs() []string { return []string{"user"} }

func (a apt) Resolve(ctx context.Context, r *Resolver) ([]Artifact, error) {
	if len(a.Packages) == 0 {
		return nil, nil
	}
	return resolveApt(ctx, r, r.base(), a.Apt)
}

func (a apt) Apply(on Stack, locked []Artifact) (Stack, error) {
	debs := ofKind(locked, KindDeb)
	if len(debs) == 0 {
		return on, nil
	}
	title := "[apt] install " + shorten(a.Packages, 60)
	step, err := aptInstall(title, debs, a.Apt)
	if err != nil {
		return on, err
	}
	return on.ChainOnBase(title, on.BaseStage.Run(step)), nil
}

// aptInstall is the step that installs exactly these packages.
func aptInstall(title string, debs []Artifact, a Apt) (llb.Exec, error) {
	dir, err := artifactDir("[apt] collect packages", debs)
	if err != nil {
		return llb.Exec{}, err
	}
	step := shell(title, preludeText+a.script(), map[string]string{
		"DEBCONF_NONINTERACTIVE_SEEN": "true",
		"DEBS":                        work + "/debs",
	}, a.Packages...)
	step.Mounts = []llb.Mount{{Path: work + "/debs", Stage: dir}}
	if len(a.Debconf) > 0 {
		step.Env["ANSWERS"] = work + "/answers/debconf"
		step.Mounts = append(step.Mounts, llb.Mount{Path: work + "/answers", Stage: llb.Scratch().Files(
			"[apt] list answers", llb.File{Path: "/debconf", Data: []byte(strings.Join(a.Debconf, "\n") + "\n")})})
	}
	// What apt, dpkg and ldconfig keep for themselves differs from run to run.
	step.Tmpfs = append(step.Tmpfs, "/var/cache/apt", "/var/cache/ldconfig", "/var/lib/apt/lists", "/var/log/apt")
	sink := llb.Scratch().Files("[apt] make a log to throw away", llb.File{Path: "/log"})
	for _, log := range []string{"/var/log/alternatives.log", "/var/log/dpkg.log"} {
		step.Mounts = append(step.Mounts, llb.Mount{Path: log, Stage: sink, From: "/log", Write: true})
	}
	return step, nil
}

// script is what installs packages, and answers what they ask before.
func (a Apt) script() string {
	if len(a.Debconf) == 0 {
		return aptInstallText
	}
	return aptDebconfText + aptInstallText
}

// shorten joins names into a text of about the given length.
func shorten(names []string, length int) string {
	text := ""
	for i, n := range names {
		if i > 0 && len(text)+len(n) > length {
			return fmt.Sprintf("%s and %d more", text, len(names)-i)
		}
		if i > 0 {
			text += ", "
		}
		text += n
	}
	return strings.TrimSpace(text)
}

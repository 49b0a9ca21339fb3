package layers

import (
	"context"
	"fmt"
	"slices"

	"github.com/raybuild/raybuild/llb"
)

// step is a command of the user's own. It is the one layer whose root is
// writable as a whole, because nobody knows what the command changes.
type step struct {
	Step
	env map[string]string // of the finished image
}

func (s step) Name() string { return s.Step.Name }

// Needs are what the recipe says; a step that says nothing needs everything
// before it, which is always right and seldom the fastest.
func (s step) Needs() []string { return s.Step.Needs }

func (s step) Resolve(context.Context, *Resolver) ([]Artifact, error) { return nil, nil }

func (s step) Apply(on Stack, _ []Artifact) (Stack, error) {
	title := fmt.Sprintf("[%s] run", s.Step.Name)
	below := on.ToolStage
	needs, onBase := s.builtOn(on)
	if onBase {
		below = on.BaseStage
	}
	below = llb.Merge(fmt.Sprintf("[%s] what it is built on", s.Step.Name), below,
		on.Tree("["+s.Step.Name+"] layers it needs", needs...))
	e := shell(title, preludeText+stepText, s.env, s.Run)
	// The script may use /tmp as it likes, but leaves nothing of it.
	if s.Network {
		e.Network = llb.Online
	}
	for _, id := range s.Secrets {
		e.Secrets = append(e.Secrets, llb.Secret{ID: id, Path: "/run/secrets/" + id})
	}
	made := below.Run(e)
	return on.Add(s.Step.Name, s.Step.Name, title, llb.Diff("["+s.Step.Name+"] layer", below, made)), nil
}

// builtOn gives the layers that the step is built on, and whether it runs on the real base.
func (s step) builtOn(on Stack) (needs []string, base bool) {
	needs = s.Step.Needs
	base = len(needs) == 0 || slices.ContainsFunc(needs, func(n string) bool {
		return n == "apt" ||
			n == "user" || n == "mirrors"
	})
	if len(needs) == 0 {
		needs = on.owner
	}
	for _, n := range needs {
		if n == "env" || n == "ray" {
			needs = append(slices.Clone(needs), "miniconda", "env", "activate")
		}
	}
	return needs, base
}

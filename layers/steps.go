package layers

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
	"github.com/raybuild/raybuild/llb"
)

// step is a command of the user's own. It is the one layer whose root is
// writable as a whole, because nobody knows what the command changes.
type step struct {
	Step
	env  map[string]string // of the finished image
	user string            // of the image, who gets what the step makes in its home
}

func (s step) Name() string { return s.Step.Name }

// Needs are what the recipe says; a step that says nothing needs everything
// before it, which is always right and seldom the fastest.
func (s step) Needs() []string { return s.Step.Needs }

func (s step) Resolve(context.Context, *Resolver) ([]Artifact, error) { return nil, nil }

// networkValue reads what a step may reach: true, false or host.
func networkValue(s *Step) strictyaml.Value {
	host := strictyaml.OneOf("a network", "host")
	shape := func() strictyaml.Shape {
		text := strictyaml.Shape{Kind: strictyaml.Text, Grammar: host}
		return strictyaml.Shape{Either: []strictyaml.Shape{{Kind: strictyaml.Bool}, text}}
	}
	return strictyaml.Func(shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		switch {
		case n.Kind == strictyaml.Bool:
			s.Network = strings.EqualFold(n.Text, "true")
		case n.Kind == strictyaml.Text && n.Text == "host":
			s.HostNetwork = true
		default:
			t.WrongKind(n, key, "true, false or host")
		}
	})
}

// reach is what the step may reach, as the recipe writes it.
func (s Step) reach() string {
	if s.HostNetwork {
		return "host"
	}
	return strconv.FormatBool(s.Network)
}

// HostNetwork tells whether a step has the network of the builder's machine.
func (r *Recipe) HostNetwork() bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.HostNetwork })
}

func (s step) Apply(on Stack, _ []Artifact) (Stack, error) {
	title := fmt.Sprintf("[%s] run", s.Step.Name)
	below := on.ToolStage
	needs, onBase := s.builtOn(on)
	if onBase {
		below = on.BaseStage
	}
	below = llb.Merge(fmt.Sprintf("[%s] what it is built on", s.Step.Name), below,
		on.Tree("["+s.Step.Name+"] layers it needs", needs...))
	owner := fmt.Sprintf("%d:%d", UserID, GroupID)
	if s.user == "root" {
		owner = "0:0"
	}
	e := shell(title, preludeText+s.text(on), s.env, s.Run, owner)
	e.Limits = s.Limits
	// The script may use /tmp as it likes, but leaves nothing of it.
	switch {
	case s.HostNetwork:
		e.Network = llb.HostNetwork
	case s.Network:
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

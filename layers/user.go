package layers

import (
	"context"
	"strconv"
)

// user makes the image's non-root user. It is bound to the base: /etc/passwd
// cannot be merged.
type user struct{ name string }

func (user) Name() string    { return "user" }
func (user) Needs() []string { return nil }

func (user) Resolve(context.Context, *Resolver) ([]Artifact, error) { return nil, nil }

func (u user) Apply(on Stack, _ []Artifact) (Stack, error) {
	if u.name == "root" {
		return on, nil
	}
	title := "[user] create user " + u.name
	step := shell(title, preludeText+userText, nil, u.name, strconv.Itoa(UserID), strconv.Itoa(GroupID), home(u.name))
	return on.ChainOnBase(title, on.BaseStage.Run(step)), nil
}

// home is a user's home directory.
func home(user string) string {
	if user == "root" {
		return "/root"
	}
	return "/home/" + user
}

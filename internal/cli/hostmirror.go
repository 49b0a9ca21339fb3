package cli

import (
	"maps"
	"slices"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/hostconf"
)

// host is what this machine is configured with; it is read once.
func (a *app) host() hostconf.Config {
	a.hostOnce.Do(func() { a.hostConfig = hostconf.Read(hostconf.This(a.getenv)) })
	return a.hostConfig
}

// hostPart is one setting of the machine, with where it was found.
type hostPart struct {
	What string `json:"what"`
	Text string `json:"value"` // without user, password and token
	From string `json:"from"`
	raw  string // with a token, if it has one
}

// hostParts lists what was found on the machine.
func hostParts(c hostconf.Config) []hostPart {
	out := []hostPart{}
	add := func(what string, v hostconf.Value) {
		if v.Text != "" {
			out = append(out, hostPart{What: what, Text: fetch.Redacted(v.Text), From: v.From, raw: v.Text})
		}
	}
	add("pip", c.PipIndex)
	for _, v := range c.PipExtra {
		add("pip, not used", v)
	}
	add("conda", c.CondaAlias)
	for _, name := range slices.Sorted(maps.Keys(c.CondaChannels)) {
		add("conda "+name, c.CondaChannels[name])
	}
	add("debian", c.Debian)
	add("debian-security", c.DebianSecurity)
	add("ubuntu", c.Ubuntu)
	add("ubuntu-security", c.UbuntuSecurity)
	add("ubuntu-ports", c.Ports)
	for _, v := range c.Certs {
		out = append(out, hostPart{What: "certificates", Text: v.Text, From: v.From})
	}
	return out
}

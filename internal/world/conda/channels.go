package main

import (
	"path"
	"strings"
)

// subdirs are the directories of a channel that are read, in order.
var subdirs = []string{"linux-64", "noarch"}

// channel is a place of packages.
type channel struct {
	// name is its canonical name: what list and history say.
	name string
	// link is its name in the LINK actions of a dry run.
	link string
	// url is its root, without a subdir.
	url string
}

// customURLs are the URLs of custom channels: those of conda itself (pkgs/main, pkgs/r), those that
// default_channels imply, and custom_channels.
func (c *config) customURLs() map[string]string {
	out := map[string]string{"pkgs/main": officialMain, "pkgs/r": officialR}
	for _, d := range c.defaults {
		if i := strings.Index(d, "/pkgs/"); i > 0 {
			out[d[i+1:]] = d
		}
	}
	for name, base := range c.custom {
		out[name] = base + "/" + name
	}
	return out
}

// resolveChannels turns names and URLs into channels. The rules are those of docs for condarc,
// checked against conda 26.7.1.
func (c *config) resolveChannels(asked []string) []channel {
	var out []channel
	seen := map[string]bool{}
	add := func(ch channel) {
		if !seen[ch.url] {
			seen[ch.url] = true
			out = append(out, ch)
		}
	}
	for _, a := range asked {
		a = strings.TrimSuffix(a, "/")
		switch a {
		case "defaults":
			for _, d := range c.defaults {
				add(c.resolveChannel(d))
			}
		default:
			add(c.resolveChannel(a))
		}
	}
	return out
}

func (c *config) resolveChannel(asked string) channel {
	custom := c.customURLs()
	if !strings.Contains(asked, "://") {
		if u, ok := custom[asked]; ok {
			return c.named(asked, u)
		}
		return c.named(asked, c.alias+"/"+asked)
	}
	asked = strings.TrimSuffix(asked, "/")
	for _, s := range subdirs {
		asked = strings.TrimSuffix(asked, "/"+s)
	}
	for name, u := range custom {
		if noScheme(u) == noScheme(asked) {
			return c.named(name, asked)
		}
	}
	// A full URL below the alias, or below conda.anaconda.org, has a name; it is never turned to another host.
	for _, alias := range []string{c.alias, officialAlias} {
		if name, ok := strings.CutPrefix(noScheme(asked), noScheme(alias)+"/"); ok {
			return c.named(name, asked)
		}
	}
	for _, d := range []string{officialMain, officialR} {
		if noScheme(asked) == noScheme(d) {
			return channel{name: "defaults", link: "defaults", url: asked}
		}
	}
	return channel{name: asked, link: channelName(asked), url: asked}
}

func (c *config) named(name, url string) channel {
	if strings.HasPrefix(name, "pkgs/") {
		return channel{name: "defaults", link: "defaults", url: url}
	}
	return channel{name: name, link: name, url: url}
}

func noScheme(u string) string {
	if _, rest, ok := strings.Cut(u, "://"); ok {
		return rest
	}
	return u
}

// channelName is the name of a channel that is known by its URL alone: its path (observed on 4.12.0 to 26.7.1 in LINK).
func channelName(url string) string {
	_, p, ok := strings.Cut(noScheme(url), "/")
	if !ok {
		return url
	}
	return p
}

// channelOf splits a package's URL into its channel's root, subdir and file name.
func channelOf(url string) (root, subdir, file string) {
	dir, file := path.Split(url)
	dir = strings.TrimSuffix(dir, "/")
	subdir = path.Base(dir)
	return strings.TrimSuffix(dir, "/"+subdir), subdir, file
}

// display is how history and specs name the package's channel: its name, or the whole URL where there is none.
func (c *config) display(url string) string {
	root, subdir, _ := channelOf(url)
	return c.resolveChannel(root).name + "/" + subdir
}

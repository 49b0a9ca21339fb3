package layers

import (
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Holds is what a layer of an image holds, as its record tells.
type Holds struct {
	// Kind is one of the Holds constants.
	Kind string
	// Artifacts are those that are in the layer, sorted. Those that only helped to make it are left out.
	Artifacts []digest.Digest
	// Replaced are conda packages of which the layer has a note and no files: wheels come in their place. They are
	// written as NAME-VERSION-BUILD.
	Replaced []string
	// Files are the recipe's files in the layer by their paths in the recipe's directory. If there are very many, they
	// are one archive. Values are SHA-256 digests.
	Files map[string]digest.Digest
}

// What layers hold.
const (
	HoldsBase     = "base"     // a layer of the base
	HoldsPackages = "packages" // what a package system installed
	HoldsWheels   = "wheels"   // wheels that raybuild unpacked, and nothing else
	HoldsFiles    = "files"    // files of the recipe's directory
	HoldsConfig   = "config"   // what raybuild itself writes: the user, the profile of the environment, mirrors
	HoldsStep     = "step"     // what a step of the recipe made, or a layer of a Go program
)

// Holds tells what the layer holds.
func (l LayerRecord) Holds() Holds {
	h := Holds{Kind: HoldsStep}
	switch {
	case l.Layer == "base":
		h.Kind = HoldsBase
	case (l.Layer == "ray" || isAdded(l.Layer)) && l.Values[byteCodeInput] != "":
		h.Kind = HoldsWheels
	case l.Layer == "apt" || l.Layer == "miniconda" || l.Name == "env" || l.Layer == "ray" || isAdded(l.Layer):
		h.Kind = HoldsPackages
	case l.Layer == "user" || l.Layer == "mirrors" || l.Layer == "env":
		h.Kind = HoldsConfig
	case l.Layer == "files":
		h.Kind, h.Files = HoldsFiles, map[string]digest.Digest{}
	}
	source := false // then what else is named only helped to build it
	for name := range l.Values {
		source = source || strings.HasPrefix(name, KindSdist+" ")
	}
	for name, value := range l.Values {
		kind, rest, _ := strings.Cut(name, " ")
		fields := strings.Fields(value)
		switch {
		case kind == "file" && h.Files != nil && len(fields) > 0:
			h.Files[rest] = digest.Digest(fields[len(fields)-1])
		case strings.HasPrefix(name, "files of ") && h.Files != nil:
			h.Files[strings.TrimPrefix(name, "files of ")] = digest.Digest(value)
		case isArtifact(kind) && len(fields) > 1 && (!source || kind == KindSdist):
			h.Artifacts = append(h.Artifacts, digest.Digest(fields[1]))
		}
	}
	if h.Kind == HoldsPackages && l.Values[replacedInput] != "" {
		h.Replaced = strings.Split(l.Values[replacedInput], ", ")
	}
	bad := func(d digest.Digest) bool { return d.Validate() != nil || d.Algorithm() != digest.SHA256 }
	h.Artifacts = slices.DeleteFunc(h.Artifacts, bad) // a record of a registry may say anything
	maps.DeleteFunc(h.Files, func(_ string, d digest.Digest) bool { return bad(d) })
	slices.Sort(h.Artifacts)
	return h
}

func isArtifact(kind string) bool {
	return slices.Contains([]string{KindDeb, KindInstaller, KindConda, KindWheel, KindSdist}, kind)
}

package llb

import (
	digest "github.com/opencontainers/go-digest"

	"github.com/moby/buildkit/solver/pb"
)

// Vertex is one operation of a marshalled graph, for a program that shows the graph.
type Vertex struct {
	Digest digest.Digest
	Kind   string          // "source", "run", "file", "merge" or "diff"
	Layer  string          // from the title's "[layer] "; "" when it has none
	Name   string          // title without the layer; for a source its reference or URL
	Inputs []digest.Digest // the operations whose results it reads, each once
}

// Vertices lists the graph's operations, each after its inputs.
func (d *Definition) Vertices() ([]Vertex, error) {
	var all []Vertex
	for _, dt := range d.Def.Def {
		op, err := decodeOp(dt)
		if err != nil {
			return nil, err
		}
		if op.Op == nil {
			continue // the last one, which only names the result
		}
		dgst := digest.FromBytes(dt)
		v := Vertex{Digest: dgst}
		v.Layer, v.Name = splitTitle(d.Def.Metadata[dgst].Description["llb.customname"])
		switch op := op.Op.(type) {
		case *pb.Op_Source:
			v.Kind = "source"
			if v.Layer == "" {
				v.Name = op.Source.GetIdentifier()
			}
		case *pb.Op_Exec:
			v.Kind = "run"
		case *pb.Op_File:
			v.Kind = "file"
		case *pb.Op_Merge:
			v.Kind = "merge"
		case *pb.Op_Diff:
			v.Kind = "diff"
		}
		seen := map[string]bool{}
		for _, in := range op.Inputs {
			if !seen[in.Digest] {
				seen[in.Digest] = true
				v.Inputs = append(v.Inputs, digest.Digest(in.Digest))
			}
		}
		all = append(all, v)
	}
	return all, nil
}

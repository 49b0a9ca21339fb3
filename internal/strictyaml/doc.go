// Package strictyaml reads a YAML file by a description of it, strictly, and says everything that is wrong with the
// file at once: each problem with its line, its column, and what would be right.
//
// A description is a list of [Key]: name, one line of text, default, example, and a [Value]. The Value reads a node
// into a variable of the program, and it can tell its [Shape]. So one description is the reader's grammar, and from
// it come the JSON Schema of the file ([File.Schema]) and its reference page ([File.Page]).
//
//	var name string
//	keys := []strictyaml.Key{{Name: "name", Doc: "Name of the cluster.", Value: strictyaml.String(&name, words)}}
//	root, problems := strictyaml.Parse(data, "cluster.yaml", limits)
//	var r strictyaml.Reader
//	r.Tell(problems...)
//	r.Read(root, "", strictyaml.Map(keys...))
//	err := r.Err()
package strictyaml

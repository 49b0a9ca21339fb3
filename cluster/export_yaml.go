package cluster

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// mapping is a mapping of YAML whose keys keep their order.
type mapping []pair

// pair is one entry of a mapping.
type pair struct {
	Key   string
	Value any
}

// MarshalYAML writes the entries in their order.
func (m mapping) MarshalYAML() (any, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, p := range m {
		var key, value yaml.Node
		if err := key.Encode(p.Key); err != nil {
			return nil, fmt.Errorf("write key %q: %w", p.Key, err)
		}
		if err := value.Encode(p.Value); err != nil {
			return nil, fmt.Errorf("write value of %q: %w", p.Key, err)
		}
		n.Content = append(n.Content, &key, &value)
	}
	return n, nil
}

// write is the document.
func (m mapping) write() ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(m); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

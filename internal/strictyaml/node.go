package strictyaml

// Kind is what a node of a YAML file is.
type Kind int

// The kinds of nodes.
const (
	Null    Kind = iota
	Text         // a string, quoted or plain, and a plain date
	Number       // a plain number
	Bool         // a plain true or false
	List         // a sequence
	Mapping      // keys and values
	Refused      // what this reader does not take, such as an alias: the parser has told so already
)

// String names the kind for messages.
func (k Kind) String() string {
	return [...]string{"nothing", "text", "a number", "true or false", "a list", "a mapping", "refused"}[k]
}

// Node is a value of a file with its place. A number keeps the text that was written, so that 3.10 stays 3.10.
type Node struct {
	Kind  Kind
	Text  string  // of a scalar
	Items []*Node // of a list
	Pairs []Pair  // of a mapping, in the order of the file
	Key   string  // dotted key under which a Reader has read it; "" before, and for the root
	File  string  // where it was written: a file's name, or "--set KEY"
	// Line and Column count from 1; 0 where the node is not from a file.
	Line, Column int
}

// Pair is one entry of a mapping.
type Pair struct{ Key, Value *Node }

// Get returns the value of a mapping's key, or nil.
func (n *Node) Get(key string) *Node {
	for _, p := range n.Pairs {
		if p.Key.Text == key {
			return p.Value
		}
	}
	return nil
}

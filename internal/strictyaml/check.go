package strictyaml

import "strings"

// CheckKeys tells what a description lacks: a key without a text, an example that the key's own value does not take,
// a default in a key that is required. It is for tests; tell gets a format and its arguments.
func CheckKeys(tell func(format string, args ...any), keys []Key) {
	checkKeys(tell, "", keys)
}

func checkKeys(tell func(format string, args ...any), path string, keys []Key) {
	for _, k := range keys {
		key := JoinKey(path, k.Name)
		if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") {
			tell("%s: its text is %q, not a sentence", key, k.Doc)
		}
		if k.Required && k.Default != "" {
			tell("%s: it is required and has a default", key)
		}
		if k.Example != "" {
			n, problems := Parse([]byte(k.Example), key, exampleLimits())
			var r Reader
			r.Tell(problems...)
			r.Read(n, key, k.Value)
			if err := r.Err(); n == nil || err != nil {
				tell("%s: its example %q is refused: %v", key, k.Example, err)
			}
		}
		for _, p := range k.Value.Shape().parts(key) {
			checkKeys(tell, p.path, p.keys)
		}
	}
}

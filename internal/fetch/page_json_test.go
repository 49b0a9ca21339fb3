package fetch

import (
	"encoding/json"
	"net/url"
	"reflect"
	"testing"
)

// TestRewriteJSONKeepsWhatItDoesNotKnow compares with what encoding/json reads.
func TestRewriteJSONKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	const page = `
 { "meta" : {"api-version":"1.0", "x":["}", "]", "\"{", "\\"]} , "n":-1.5e3,"files":[
  { "fi\u006cename" : "a-1-py3-none-any.whl","url":"x","url" : "a\u002d1.whl" , "size":7, "hashes" : {"sha256":"00"},
    "deep":[[{"a":[]},{}],null,true,"\\\""],"yanked":false },
  null, {"url":17}, {"filename":"off","url":"off"},{"url":"b.tar.gz"} ] , "empty":{}, "list":[ ] }
`
	base, err := url.Parse("https://o.example/simple/a/")
	if err != nil {
		t.Fatal(err)
	}
	out, err := rewriteJSON([]byte(page), base, true, func(l link) string {
		if l.name == "off" {
			return ""
		}
		return "http://new/" + l.url.Path + "#x"
	})
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal([]byte(page), &want); err != nil {
		t.Fatal(err)
	}
	files, _ := want["files"].([]any)
	first, _ := files[0].(map[string]any)
	first["url"], first["core-metadata"] = "http://new//simple/a/a-1.whl", true
	last, _ := files[4].(map[string]any)
	last["url"] = "http://new//simple/a/b.tar.gz"
	want["files"] = []any{first, last}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, bad := range []string{``, `[]`, `{"files":{}}`, `{"files":["x"]}`, `{"files":[{}`, `{} {}`} {
		if out, err := rewriteJSON([]byte(bad), base, false, func(link) string { return "" }); err == nil {
			t.Errorf("%s: %s", bad, out)
		}
	}
	for _, good := range []string{`{}`, `{"files":null}`, `{"files":[]}`} {
		if out, err := rewriteJSON([]byte(good), base, false, func(link) string { return "" }); err != nil ||
			!json.Valid(out) {
			t.Errorf("%s: %s, %v", good, out, err)
		}
	}
}

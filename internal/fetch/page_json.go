package fetch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
)

// A page in JSON may have five megabytes, and a resolver reads a hundred of them. So it is checked once, and then cut
// into members, which are not decoded but where that is needed.

// member is a key of a JSON object with its value as it was.
type member struct {
	key   string
	name  []byte // the key in JSON
	value []byte
}

// object is a JSON object. Of keys that are there twice, the last counts, as for encoding/json.
type object []member

// get is a key's value; nil: there is none.
func (o object) get(key string) []byte {
	for _, m := range o {
		if m.key == key {
			return m.value
		}
	}
	return nil
}

// set gives a key a value.
func (o *object) set(key string, value []byte) { o.put(key, nil, value) }

func (o *object) put(key string, name, value []byte) {
	if i := slices.IndexFunc(*o, func(m member) bool { return m.key == key }); i >= 0 {
		(*o)[i].value = value
		return
	}
	if name == nil {
		name = quoteJSON(key)
	}
	*o = append(*o, member{key, name, value})
}

// write appends the object to out.
func (o object) write(out *bytes.Buffer) {
	out.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(m.name)
		out.WriteByte(':')
		out.Write(m.value)
	}
	out.WriteByte('}')
}

// quoteJSON is a string in JSON.
func quoteJSON(s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`) // a string never fails
	}
	return quoted
}

// stringJSON reads a JSON string; ok is false for any other value.
func stringJSON(raw []byte) (s string, ok bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if plain := raw[1 : len(raw)-1]; bytes.IndexByte(plain, '\\') < 0 && utf8.Valid(plain) {
		return string(plain), true
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// splitObject cuts an object of valid JSON into its members; ok is false for any other value.
func splitObject(raw []byte) (o object, ok bool) {
	o = make(object, 0, 12)
	i := skipSpace(raw, 0)
	if i >= len(raw) || raw[i] != '{' {
		return nil, false
	}
	for i = skipSpace(raw, i+1); raw[i] != '}'; {
		end := skipValue(raw, i)
		name := raw[i:end]
		key, _ := stringJSON(name)
		i = skipSpace(raw, skipSpace(raw, end)+1) // past the colon
		end = skipValue(raw, i)
		o.put(key, name, raw[i:end])
		if i = skipSpace(raw, end); raw[i] == ',' {
			i = skipSpace(raw, i+1)
		}
	}
	return o, true
}

// splitArray cuts an array of valid JSON into its elements; ok is false for any other value.
func splitArray(raw []byte) (elements [][]byte, ok bool) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, false
	}
	for i := skipSpace(raw, 1); raw[i] != ']'; {
		end := skipValue(raw, i)
		elements = append(elements, raw[i:end])
		if i = skipSpace(raw, end); raw[i] == ',' {
			i = skipSpace(raw, i+1)
		}
	}
	return elements, true
}

func skipSpace(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\n' || raw[i] == '\t' || raw[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns where the value that begins at i ends.
func skipValue(raw []byte, i int) int {
	switch raw[i] {
	case '"':
		return skipString(raw, i)
	case '{', '[':
		depth := 0
		for ; ; i++ {
			switch raw[i] {
			case '"':
				i = skipString(raw, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(raw) && bytes.IndexByte([]byte(",]} \n\t\r"), raw[i]) < 0 {
		i++
	}
	return i
}

func skipString(raw []byte, i int) int {
	for i++; raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// rewriteJSON changes the url of each file and keeps every other key.
func rewriteJSON(body []byte, base *url.URL, offer bool, change rewrite) ([]byte, error) {
	if !json.Valid(body) {
		return nil, fmt.Errorf("parse index page: %w", json.Unmarshal(body, new(any)))
	}
	page, ok := splitObject(body)
	if !ok {
		return nil, errors.New("parse index page: it is no object")
	}
	files := page.get("files")
	if string(files) == "null" {
		files = nil
	}
	elements, ok := splitArray(files)
	if !ok && files != nil {
		return nil, errors.New("parse index page: files: they are no list")
	}
	var out bytes.Buffer
	out.Grow(len(body))
	out.WriteByte('[')
	for _, raw := range elements {
		file, ok := splitObject(raw)
		if !ok && string(raw) != "null" {
			return nil, errors.New("parse index page: files: one is no object")
		}
		if !rewriteFile(&file, base, offer, change) {
			continue
		}
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		file.write(&out)
	}
	out.WriteByte(']')
	if page.get("files") != nil {
		page.set("files", out.Bytes())
	}
	var all bytes.Buffer
	all.Grow(out.Len() + 1000)
	page.write(&all)
	return all.Bytes(), nil
}

// rewriteFile changes one file of a page; false takes it off.
func rewriteFile(file *object, base *url.URL, offer bool, change rewrite) bool {
	l, ok := jsonLink(base, *file)
	if !ok {
		return false
	}
	to := change(l)
	if to == "" {
		return false
	}
	to, _, _ = strings.Cut(to, "#") // the hashes have a key of their own
	file.set("url", quoteJSON(to))
	if offer && !l.hasMeta && strings.HasSuffix(l.name, ".whl") {
		file.set("core-metadata", []byte("true"))
	}
	return true
}

func jsonLink(base *url.URL, file object) (link, bool) {
	href, ok := stringJSON(file.get("url"))
	if !ok {
		return link{}, false
	}
	l, ok := newLink(base, href)
	if !ok {
		return link{}, false
	}
	if name, ok := stringJSON(file.get("filename")); ok && name != "" {
		l.name = name
	}
	if d := jsonHash(file.get("hashes")); d != "" {
		l.digest = d
	}
	if n, err := strconv.ParseInt(string(file.get("size")), 10, 64); err == nil {
		l.size = max(n, 0) // not given, or not a number: not known
	}
	for _, k := range []string{"core-metadata", "dist-info-metadata", "data-dist-info-metadata"} {
		if raw := file.get(k); l.meta == "" && raw != nil {
			l.meta = jsonHash(raw)
			l.hasMeta = l.hasMeta || l.meta != "" || string(raw) == "true"
		}
	}
	return l, true
}

// jsonHash returns the sha256 of {"sha256": "…"}, which is valid JSON; "" for anything else.
func jsonHash(raw []byte) digest.Digest {
	o, _ := splitObject(raw)
	hex, _ := stringJSON(o.get("sha256"))
	return sha256Digest(hex)
}

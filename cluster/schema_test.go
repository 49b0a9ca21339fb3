package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/strictyaml/schematest"
)

func fileSchema(t testing.TB) schematest.Schema {
	t.Helper()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	return schematest.Compile(t, data)
}

// What is checked in is what the description gives.
func TestReferenceIsUpToDate(t *testing.T) {
	t.Parallel()
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]byte{"../schema/cluster.schema.json": schema, "../docs/cluster.md": Page()} {
		if got, err := os.ReadFile(file); err != nil || string(got) != string(want) {
			t.Errorf("%s is out of date (%v): run make docs", file, err)
		}
	}
}

// Every key has a text, and its example is one that reader and schema take.
func TestExamplesOfKeys(t *testing.T) {
	t.Parallel()
	schematest.CheckKeys(t, newDocument().keys())
}

// Whatever the reader takes, the schema takes.
func TestSchemaTakesGoodClusters(t *testing.T) {
	t.Parallel()
	schema := fileSchema(t)
	good := map[string]string{"sketch": sketch, "groups": groups}
	files, err := filepath.Glob("../examples/*/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("examples %v, error %v", files, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "raybuild.yaml" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		good[file] = string(data)
	}
	for i, hosts := range [][]string{nil, {"local"}, {"node1", "ssh://ubuntu@10.0.0.[2-9]", "[fd00::3]:2222"}} {
		data, err := Init("", "", hosts)
		if err != nil {
			t.Fatal(err)
		}
		good[fmt.Sprint("init ", i)] = string(data)
	}
	for name, text := range good {
		if _, err := Load("cluster.yaml", []byte(text)); err != nil {
			t.Errorf("%s: the reader refuses it: %v", name, err)
		}
		if v := schema.Verdict([]byte(text)); !v.Document || v.Err != nil {
			t.Errorf("%s: the schema refuses it: %v", name, v.Err)
		}
	}
}

// schemaTakes are the refused files that the schema takes, with the reason.
func schemaTakes() map[string]string {
	const (
		between = "it is a rule between two values"
		meaning = "it depends on what the text means"
	)
	return map[string]string{
		"same host twice":                     between,
		"same host as another user":           between,
		"same host as another user, shared":   between,
		"head in workers":                     between,
		"two spellings of an IPv6 address":    between,
		"group without hosts":                 between,
		"two groups of one name":              between,
		"nodes per host unasked":              between,
		"too many nodes":                      between,
		"private addresses do not match":      between,
		"private address twice":               between,
		"more minimum than workers":           between,
		"ports that collide":                  between,
		"ports that collide on a shared host": between,
		"worker ports too high":               between,
		"store larger than shm":               between,
		"mount at a place twice":              between,
		"port 0":                              meaning,
		"port 70000":                          meaning,
		"port of a range":                     meaning,
		"backward port range":                 meaning,
		"address out of range":                meaning,
		"backward range":                      meaning,
		"huge range":                          meaning,
		"huge product":                        meaning,
		"unspecified address":                 meaning,
		"several for one host":                meaning,
		"small shm":                           meaning,
		"resource amount": "multiples of 0.0001 are inexact in validators that count in " +
			"floating point",
		"Ray's own label":          "a prefix is refused by a lookahead alone, which not all validators have",
		"argument of the launcher": "a prefix is refused by a lookahead alone, which not all validators have",
		"mount over shm":           meaning,
		"mount upwards":            meaning,
		"env with newline":         "values have no pattern: any text in one line",
	}
}

// What the reader refuses, the schema refuses, but for what is listed.
func TestSchemaRefusesBadClusters(t *testing.T) {
	t.Parallel()
	schema := fileSchema(t)
	takes, seen := schemaTakes(), map[string]bool{}
	for _, tt := range badClusters() {
		v := schema.Verdict([]byte(tt.yaml))
		why, listed := takes[tt.name]
		seen[tt.name] = true
		switch {
		case !v.Document: // no schema is asked about what is no document
		case v.Err == nil && !listed:
			t.Errorf("%s: the reader refuses it and the schema takes it:\n%s", tt.name, tt.yaml)
		case v.Err != nil && listed:
			t.Errorf("%s: the schema refuses it, though it is listed as one that it cannot refuse: %s", tt.name, why)
		}
	}
	for name := range takes {
		if !seen[name] {
			t.Errorf("%q is listed, and is no refused file", name)
		}
	}
}

// Odd values in every field: what the reader takes of them, the schema takes.
func TestSchemaTakesOddValues(t *testing.T) {
	t.Parallel()
	schema := fileSchema(t)
	values := []string{"", "''", "~", "local", "unix:///run/podman.sock", "unix:///run/[1-2]", "ssh://a@b:22", "n[1-2]",
		"n[01-03,7]-x", "'[fd00::1]'", "'[fd00::1]:22'", "'u[1-2]@h'", "'h:[22-23]'", "10.0.0.5", "'::1'",
		"'::ffff:10.0.0.1'", "10.1.0.[1-2]", "true", "false", "auto", "0", "007", "1", "1.5", "0.0001", "1e3", "0x10",
		"1_000", "8g", "10 MiB", "1.5G", "104857600", "2m", "+1.5h", "1h30m", "90s", "10002-10999", "/a/b", "/a%20b",
		"~/.ssh/id", "a/b c", "me@h:1,[fd00::1]", "--verbose", "--x=y z", "cache:/c", "/a:/b:ro", "é", "a b", ".nan",
		"1e400", "2026-01-02", "[]", "{}", "[a]", "{a: b}", "{A: 1}", "{a/b: c}"}
	fields := []string{"name: %s\nimage: r\nhead:", "name: a\nimage: %s\nhead:", "head: %s", "head: {host: %s}",
		"head: {private_address: %s}", "workers: %s", "workers: [%s]", "workers: [{host: %s}]",
		"workers: [{hosts: [%s]}]",
		"workers: [{name: %s, host: b}]", "workers: [{host: b, private_addresses: [%s]}]",
		"share_hosts: true\nworkers: [{host: b, nodes_per_host: %s}]", "num_cpus: %s", "num_gpus: %s", "memory: %s",
		"object_store_memory: %s", "shm_size: %s", "resources: %s", "resources: {x: %s}", "labels: %s",
		"labels: {x: %s}",
		"env: %s", "env: {X: %s}", "mounts: %s", "mounts: [%s]", "mounts: [{source: %s, target: /x}]",
		"mounts: [{source: /x, target: %s}]", "args: [%s]", "ports: {metrics: %s}", "ports: {workers: %s}",
		"temp_dir: %s",
		"ssh: {user: %s}", "ssh: {port: %s}", "ssh: {key: %s}", "ssh: {jump: %s}", "ssh: {socket: %s}",
		"min_workers: %s",
		"parallel: %s", "filter: %s", "wait: %s", "allow_public: [%s]"}
	taken := 0
	for _, field := range fields {
		for _, v := range values {
			text := fmt.Sprintf(field, v) + "\n"
			if !strings.HasPrefix(text, "name: ") {
				text = "name: a\nimage: r\n" + text
			}
			if !strings.Contains(text, "head:") {
				text += "head:\n"
			}
			if _, err := Load("cluster.yaml", []byte(text)); err != nil {
				continue
			}
			taken++
			if v := schema.Verdict([]byte(text)); !v.Document || v.Err != nil {
				t.Errorf("the schema refuses what the reader takes: %v\n%s", v.Err, text)
			}
		}
	}
	if taken < 200 {
		t.Errorf("the reader takes %d files of these", taken)
	}
}

// FuzzSchemaTakes looks for a file that the reader takes and the schema refuses.
func FuzzSchemaTakes(f *testing.F) {
	schema := fileSchema(f)
	f.Add([]byte(sketch))
	f.Add([]byte(groups))
	f.Add([]byte("name: true\nimage: ray\nhead:\nwait: +1.5h\nenv: {A: true, B: 1.50}\nshm_size: " +
		"104857600\nresources: {a: 0.5, b: 2}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Load("cluster.yaml", data); err != nil {
			return
		}
		if v := schema.Verdict(data); !v.Document || v.Err != nil {
			t.Errorf("the schema refuses what the reader takes: %v\n%q", v.Err, data)
		}
	})
}

// The first line of a new file names its schema.
func TestInitNamesTheSchema(t *testing.T) {
	t.Parallel()
	data, err := Init("", "", nil)
	want := "# yaml-language-server: $schema=" + SchemaURL + "\n"
	if err != nil || !strings.HasPrefix(string(data), want) {
		t.Errorf("the file begins with %.120q, %v", data, err)
	}
}

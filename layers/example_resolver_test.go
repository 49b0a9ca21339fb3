package layers_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/fakebuilder"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// model is a layer with one file of a server. The lock has its digest.
type model struct{ name, version string }

func (model) Name() string    { return "model" }
func (model) Needs() []string { return nil }

// Inputs changes if another model is wanted. Only then it is resolved again.
func (m model) Inputs() digest.Digest { return digest.FromString(m.name + " " + m.version) }

// Resolve asks the server for the digest, and a program on the tool stage for the path.
func (m model) Resolve(ctx context.Context, r *layers.Resolver) ([]layers.Artifact, error) {
	const origin = "https://models.example"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+"/"+m.name+".sha256", nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.Client().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	sum, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	answer, err := r.Run(ctx, r.Stack().ToolStage, "[model] find "+m.name, `echo "$2-$3.bin" >"$1/path"`, nil, nil,
		m.name, m.version)
	if err != nil {
		return nil, err
	}
	return []layers.Artifact{{Kind: layers.KindFile, Name: m.name, Version: m.version, Origin: origin,
		Path: strings.TrimSpace(string(answer["path"])), SHA256: string(sum)}}, nil
}

func (m model) Apply(on layers.Stack, locked []layers.Artifact) (layers.Stack, error) {
	title := "[model] copy " + m.name
	file := llb.Artifact(llb.Blob{Digest: locked[0].Digest(), Name: locked[0].Filename()})
	tree := llb.Scratch().Copy(title, file, "/"+locked[0].Filename(), "/opt/models/")
	return on.Add("model", "model", title, tree), nil
}

// modelServer stands for the package sources. raybuild.Open makes real ones.
type modelServer struct{ layers.Sources }

func (modelServer) Know([]layers.Artifact, []layers.LocalFile) {}
func (modelServer) ServeConn(net.Conn)                         {}
func (modelServer) Allow(*url.URL)                             {}
func (modelServer) Canonical(u *url.URL) *url.URL              { return u }
func (s modelServer) Client() *http.Client                     { return &http.Client{Transport: s} }

func (modelServer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Request: r,
		Body: io.NopCloser(strings.NewReader(digest.FromString(r.URL.String()).Encoded()))}, nil
}

// A layer that has artifacts resolves them with a Resolver.
func ExampleResolver() {
	ctx := context.Background()
	server, stop, err := fakebuilder.Serve(fakebuilder.Options{ // a builder that runs nothing
		Run:  func(string) (map[string]string, error) { return map[string]string{"path": "small-1.0.bin\n"}, nil },
		Pull: emptyBase,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			log.Fatal(err)
		}
	}()
	recipe, lock := load()
	lock, err = layers.Resolve(ctx, layers.ResolveInput{
		Recipe: recipe, Old: lock, Extra: []layers.Layer{model{"small", "1.0"}},
		Sources: modelServer{}, Now: time.Now(),
		Sandbox: func(ctx context.Context) (layers.Sandbox, error) { return llb.Connect(ctx, server.Addr()) },
	})
	if err != nil {
		log.Fatal(err)
	}
	resolved := lock.Platforms["linux/arm64"].Layers
	for _, a := range resolved[len(resolved)-1].Artifacts {
		fmt.Println(a.Kind, a.Name, a.Version, a.URL())
	}
	// Output:
	// file small 1.0 https://models.example/small-1.0.bin
}

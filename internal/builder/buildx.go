package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/buildx/store"
	"github.com/docker/buildx/util/confutil"
	"github.com/docker/cli/cli/config"

	"github.com/raybuild/raybuild/llb"
)

// connectBuildx connects to the buildx builder with this name. For [Buildx] it is the builder that
// "docker buildx use" chose. If a builder has several nodes, the first node is used.
func connectBuildx(ctx context.Context, getenv func(string) string, name string) (*Builder, error) {
	group, err := findBuildx(getenv, name)
	if err != nil {
		return nil, err
	}
	if group == nil {
		return connectDocker(ctx, "")
	}
	addr, err := buildxAddress(group)
	if err != nil {
		return nil, fmt.Errorf("use buildx's builder %q: %w", group.Name, err)
	}
	if group.Driver == "docker" {
		return connectDocker(ctx, addr)
	}
	b, err := llb.Connect(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("connect to buildx's builder %q: %w; docker buildx inspect --bootstrap %s starts it",
			group.Name, err, group.Name)
	}
	return &Builder{Builder: b, Engine: addr, close: b.Close}, nil
}

// findBuildx reads buildx's store. nil means the Docker Engine, which buildx uses if no builder was chosen.
func findBuildx(getenv func(string) string, name string) (*store.NodeGroup, error) {
	dir := getenv("BUILDX_CONFIG")
	if dir == "" {
		dir = filepath.Join(config.Dir(), "buildx")
	}
	// Package store would create the directory.
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if name == Buildx {
			return nil, nil
		}
		return nil, fmt.Errorf("find builder %q: it is no address, and buildx has no builders here (no %s): name an "+
			"address such as unix:///run/buildkit/buildkitd.sock", name, dir)
	}
	s, err := store.New(confutil.NewConfig(nil, confutil.WithDir(dir)))
	if err != nil {
		return nil, fmt.Errorf("read buildx's builders in %q: %w", dir, err)
	}
	txn, release, err := s.Txn()
	if err != nil {
		return nil, fmt.Errorf("read buildx's builders in %q: %w", dir, err)
	}
	defer release()
	if name == Buildx {
		group, err := txn.Current(dockerEndpoint(getenv))
		if err != nil {
			return nil, fmt.Errorf("read buildx's current builder in %q: %w", dir, err)
		}
		return group, nil
	}
	group, err := txn.NodeGroupByName(name)
	if errors.Is(err, os.ErrNotExist) || store.IsErrInvalidName(err) {
		return nil, fmt.Errorf("find builder %q: it is no address, and none of buildx's builders (docker buildx "+
			"ls lists them)", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read buildx's builder %q in %q: %w", name, dir, err)
	}
	return group, nil
}

// dockerEndpoint returns the key of buildx's choice in its store: the name of Docker's context, or
// the Engine's address if it is the default context.
func dockerEndpoint(getenv func(string) string) string {
	if host := getenv("DOCKER_HOST"); host != "" {
		return host
	}
	name := getenv("DOCKER_CONTEXT")
	if name == "" {
		if file, err := config.Load(config.Dir()); err == nil {
			name = file.CurrentContext
		}
	}
	if name == "" || name == "default" {
		return "unix:///var/run/docker.sock" // as buildx names it
	}
	return name
}

// buildxAddress returns the address of a buildx builder.
func buildxAddress(group *store.NodeGroup) (string, error) {
	if len(group.Nodes) == 0 {
		return "", errors.New("it has no node: make it anew with docker buildx create")
	}
	node := group.Nodes[0]
	switch group.Driver {
	case "docker":
		if !strings.Contains(node.Endpoint, "://") {
			return "", nil
		}
		return node.Endpoint, nil
	case "docker-container": // buildx, driver/docker-container: the container's name
		addr := "docker-container://buildx_buildkit_" + node.Name
		if node.Endpoint != "" && !strings.Contains(node.Endpoint, "://") {
			addr += "?context=" + node.Endpoint
		}
		return addr, nil
	case "remote":
		if node.Endpoint == "" {
			return "", errors.New("its node has no address: make it anew with docker buildx create")
		}
		return remoteAddress(node), nil
	}
	return "", fmt.Errorf("its driver is %s: name the builder's address with --builder, such as "+
		"kube-pod://POD?namespace=NS", group.Driver)
}

// remoteAddress returns a remote node's address, with the TLS files that buildx has for it.
func remoteAddress(node store.Node) string {
	var q []string
	for _, key := range []string{"cacert", "cert", "key", "servername"} {
		if v := node.DriverOpts[key]; v != "" {
			q = append(q, key+"="+v)
		}
	}
	if len(q) == 0 || strings.Contains(node.Endpoint, "?") {
		return node.Endpoint
	}
	return node.Endpoint + "?" + strings.Join(q, "&")
}

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// ray speaks with a cluster's head: over HTTP through the SSH connection, or, for versions that
// have no HTTP answer, by a Python program in the head's container. Nothing of it is reachable from
// elsewhere.
type ray struct {
	host      *docker.Host
	container string // of the head
	features  features
	token     string
	base      string
	http      *http.Client
	asked     []rayNode // an answer that is there already; it counts once
}

func newRay(h *docker.Host, container string, dashboard int, f features, token string) *ray {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(dashboard))
	tr := &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return h.Dial(ctx, addr) }}
	return &ray{host: h, container: container, features: f, token: token, base: "http://" + addr,
		http: &http.Client{Transport: tr}}
}

func (r *ray) close() { r.http.CloseIdleConnections() }

// statusError is an HTTP answer that is not 2xx.
type statusError struct {
	code int
	path string
	text string
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("ray answers %d on %s", e.code, e.path)
	if e.code == http.StatusUnauthorized || e.code == http.StatusForbidden {
		s += ": the token was refused"
	} else if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// header is what each request has.
func (r *ray) header() http.Header {
	h := http.Header{}
	if r.token != "" {
		h.Set("Authorization", "Bearer "+r.token)
	}
	return h
}

// do makes a request. The default User-Agent of Go stays: the dashboard refuses browsers (CVE-2025-62593).
func (r *ray) do(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if sized, ok := body.(interface{ Size() int64 }); ok {
		req.ContentLength = sized.Size()
	}
	maps.Copy(req.Header, r.header())
	res, err := r.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("ask ray %s: %w", path, err)
	}
	if res.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 512))
		res.Body.Close() // the status counts
		return nil, &statusError{code: res.StatusCode, path: path, text: firstLine(textOf(string(text)))}
	}
	return res, nil
}

func (r *ray) get(ctx context.Context, path string, into any) error {
	res, err := r.do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close() // read to its end
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<20)).Decode(into); err != nil {
		return fmt.Errorf("read ray's answer on %s: %w", path, err)
	}
	return nil
}

// healthy asks the head whether it is up. Versions without a health path are asked for their nodes.
func (r *ray) healthy(ctx context.Context) error {
	if r.features.HeadHealth == "" {
		_, err := r.nodes(ctx)
		return err
	}
	res, err := r.do(ctx, http.MethodGet, r.features.HeadHealth, "", nil)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// rayNode is a node as Ray counts it.
type rayNode struct {
	ID, Name, IP string
	Head, Alive  bool
	Message      string
	Resources    map[string]float64
	Started      time.Time // by the clock of its host; zero: Ray does not say
}

// nodes asks Ray which nodes it has, dead ones too.
func (r *ray) nodes(ctx context.Context) ([]rayNode, error) {
	if !r.features.StateAPI {
		return r.nodesByPython(ctx)
	}
	var answer struct {
		Result bool
		Msg    string
		Data   struct {
			Result struct {
				Result []struct {
					NodeID    string             `json:"node_id"`
					NodeIP    string             `json:"node_ip"`
					NodeName  string             `json:"node_name"`
					Head      bool               `json:"is_head_node"`
					State     string             `json:"state"`
					Message   string             `json:"state_message"`
					Resources map[string]float64 `json:"resources_total"`
					Started   int64              `json:"start_time_ms"`
				}
			}
		}
	}
	if err := r.get(ctx, "/api/v0/nodes?detail=1&limit=10000", &answer); err != nil {
		return nil, err
	}
	if !answer.Result {
		return nil, fmt.Errorf("ask ray for its nodes: %s", textOf(answer.Msg))
	}
	var out []rayNode
	for _, n := range answer.Data.Result.Result {
		node := rayNode{ID: n.NodeID, Name: n.NodeName, IP: n.NodeIP, Head: n.Head, Alive: n.State == "ALIVE",
			Message: n.Message, Resources: n.Resources}
		if n.Started > 0 {
			node.Started = time.UnixMilli(n.Started)
		}
		out = append(out, node)
	}
	return out, nil
}

// load asks Ray what the nodes' hosts are doing, by address (ray dashboard/modules/reporter: cpu in
// percent; mem is total, available, percent, used). It is for show: a version that answers
// otherwise shows none.
func (r *ray) load(ctx context.Context) map[string]NodeLoad {
	var answer struct {
		Data struct {
			Summary []struct {
				IP  string
				CPU float64
				Mem []float64
			}
		}
	}
	if err := r.get(ctx, "/nodes?view=summary", &answer); err != nil {
		return nil
	}
	out := map[string]NodeLoad{}
	for _, n := range answer.Data.Summary {
		if len(n.Mem) >= 3 {
			out[n.IP] = NodeLoad{CPU: n.CPU, Memory: n.Mem[2]}
		}
	}
	return out
}

// nodesProgram prints ray.nodes() as JSON. RAY_ADDRESS is set in every container of a cluster.
const nodesProgram = `import json, ray
ray.init(log_to_driver=False)
print("RAYBUILD" + json.dumps(ray.nodes(), default=str))
`

func (r *ray) nodesByPython(ctx context.Context) ([]rayNode, error) {
	var out, errs bytes.Buffer
	code, err := r.host.Exec(ctx, r.container, docker.Exec{Cmd: []string{"python", "-c", nodesProgram}, Stdout: &out,
		Stderr: &errs})
	if err != nil {
		return nil, err
	}
	_, text, ok := strings.Cut(out.String(), "RAYBUILD")
	if code != 0 || !ok {
		return nil, fmt.Errorf("ask ray for its nodes: python ends with %d: %s", code, lastLine(textOf(errs.String())))
	}
	var list []struct {
		NodeID, NodeManagerAddress string
		Alive                      bool
		Resources                  map[string]float64
	}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&list); err != nil {
		return nil, fmt.Errorf("read ray's nodes: %w", err)
	}
	var nodes []rayNode
	for _, n := range list {
		nodes = append(nodes, rayNode{ID: n.NodeID, IP: n.NodeManagerAddress, Alive: n.Alive, Resources: n.Resources})
	}
	return nodes, nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// match finds the living Ray node of each container: by the name that it was started with, or, for
// versions without names, by address. foreign are living nodes that belong to no container.
func match(desired []container, nodes []rayNode, named bool) (found map[string]rayNode, foreign []rayNode) {
	found = map[string]rayNode{}
	for _, n := range nodes {
		if !n.Alive {
			continue
		}
		id := ""
		for _, c := range desired {
			if _, taken := found[c.Node.ID]; !taken && c.Address.String() == n.IP &&
				(!named || n.Name == "" || n.Name == n.IP || n.Name == c.Node.ID) {
				id = c.Node.ID
				break
			}
		}
		if id == "" {
			foreign = append(foreign, n)
			continue
		}
		found[id] = n
	}
	return found, foreign
}

// lacks says which resources a node was asked to have and has not; empty: none.
func (want nodeResources) lacks(have map[string]float64) string {
	var out []string
	check := func(name string, want float64) {
		if got := have[name]; want > 0 && got+1e-6 < want {
			out = append(out, fmt.Sprintf("%s %g instead of %g", name, got, want))
		}
	}
	check("CPU", want.CPU)
	check("GPU", want.GPU)
	for k, v := range want.Custom {
		check(k, v)
	}
	return strings.Join(out, ", ")
}

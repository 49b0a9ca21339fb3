// Command ray, as miniray builds it, is a few MB of stand-in for tests of the launcher alone: it
// takes `ray start` as the launcher writes it, keeps the ports, and counts nodes as Ray's state API
// does. It runs jobs in a shell (jobs.go), and no tasks. It is not Ray, and not the stand-in of the offline world,
// which does.
//
// What it keeps of Ray's documented behaviour: a node without the cluster's token is refused; a
// node that the head does not know (any more) ends, and its container's restart policy brings it
// back; the head takes a silent node for dead.
package main

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	version  = "2.52.0"
	beat     = 200 * time.Millisecond
	patience = 2 * time.Second
)

type node struct {
	ID        string             `json:"node_id"`
	IP        string             `json:"node_ip"`
	Name      string             `json:"node_name"`
	Head      bool               `json:"is_head_node"`
	State     string             `json:"state"`
	Resources map[string]float64 `json:"resources_total"`
	seen      time.Time
}

func main() {
	args := os.Args[1:]
	if len(args) == 1 && args[0] == "--version" {
		fmt.Println("ray, version " + version)
		return
	}
	if len(args) == 0 || args[0] != "start" {
		fail("Usage: ray start")
	}
	opts := map[string]string{}
	for _, a := range args[1:] {
		k, v, _ := strings.Cut(a, "=")
		opts[k] = v
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ended
		os.Exit(1) // as Ray does after SIGTERM
	}()
	token := ""
	if os.Getenv("RAY_AUTH_MODE") == "token" {
		data, err := os.ReadFile(os.Getenv("RAY_AUTH_TOKEN_PATH"))
		if err != nil || len(data) == 0 {
			fail("AuthenticationError: no token at RAY_AUTH_TOKEN_PATH")
		}
		token = strings.TrimSpace(string(data))
	}
	me := node{ID: random(), IP: opts["--node-ip-address"], Name: opts["--node-name"], State: "ALIVE",
		Resources: resources(opts)}
	_, head := opts["--head"]
	occupy(opts, head)
	if head {
		me.Head = true
		runHead(me, opts, token)
	}
	runWorker(me, opts["--address"], token)
}

// occupy listens wherever Ray's processes do beside GCS and dashboard: on every port that is given,
// and on both ends and in the middle of the workers' range. A head opens the client's port unasked,
// as one with ray[client] does.
func occupy(opts map[string]string, head bool) {
	for _, p := range []string{"--node-manager-port", "--object-manager-port", "--runtime-env-agent-port",
		"--dashboard-agent-grpc-port",
		"--dashboard-agent-listen-port", "--metrics-export-port"} {
		if opts[p] != "" {
			listen("0.0.0.0:" + opts[p])
		}
	}
	low, errLow := strconv.Atoi(opts["--min-worker-port"])
	high, errHigh := strconv.Atoi(opts["--max-worker-port"])
	if errLow == nil && errHigh == nil {
		for _, p := range []int{low, (low + high) / 2, high} {
			listen(fmt.Sprintf("0.0.0.0:%d", p))
		}
	}
	if head {
		listen("0.0.0.0:" + cmp.Or(opts["--ray-client-server-port"], "10001"))
	}
}

func fail(format string, a ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", a...)
	os.Exit(1)
}

func random() string {
	b := make([]byte, 14)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func listen(addr string) net.Listener {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		fail("%v", err)
	}
	return ln
}

func resources(opts map[string]string) map[string]float64 {
	out := map[string]float64{}
	if s := opts["--resources"]; s != "" {
		if err := json.Unmarshal([]byte(s), &out); err != nil {
			fail("--resources: %v", err)
		}
	}
	for flag, name := range map[string]string{"--num-cpus": "CPU", "--num-gpus": "GPU",
		"--object-store-memory": "object_store_memory"} {
		if v, err := strconv.ParseFloat(opts[flag], 64); err == nil && v > 0 {
			out[name] = v
		}
	}
	return out
}

type head struct {
	mu    sync.Mutex
	nodes map[string]*node
	token string
}

func (h *head) allowed(w http.ResponseWriter, r *http.Request) bool {
	switch got := r.Header.Get("Authorization"); {
	case h.token == "" || got == "Bearer "+h.token:
		return true
	case got == "":
		http.Error(w, "Unauthorized: Missing authentication token", http.StatusUnauthorized)
	default:
		http.Error(w, "Forbidden: Invalid authentication token", http.StatusForbidden)
	}
	return false
}

func runHead(me node, opts map[string]string, token string) {
	h := &head{nodes: map[string]*node{me.ID: &me}, token: token}
	gcs := http.NewServeMux()
	gcs.HandleFunc("/beat", func(w http.ResponseWriter, r *http.Request) {
		if !h.allowed(w, r) {
			return
		}
		var n node
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		have, known := h.nodes[n.ID]
		if r.URL.Query().Get("first") == "" && (!known || have.State == "DEAD") {
			http.Error(w, "unknown node", http.StatusGone)
			return
		}
		n.State, n.seen = "ALIVE", time.Now()
		h.nodes[n.ID] = &n
	})
	dash := http.NewServeMux()
	dash.HandleFunc("/api/gcs_healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "success") })
	dash.HandleFunc("/api/v0/nodes", func(w http.ResponseWriter, r *http.Request) {
		if h.allowed(w, r) {
			// who asked may have left
			_ = json.NewEncoder(w).Encode(map[string]any{"result": true, "msg": "",
				"data": map[string]any{"result": map[string]any{"result": h.list()}}})
		}
	})
	(&jobs{}).serve(dash, h.allowed)
	g, d := listen("0.0.0.0:"+opts["--port"]), listen(opts["--dashboard-host"]+":"+opts["--dashboard-port"])
	fmt.Println("Ray runtime started.")
	go func() { fail("gcs: %v", http.Serve(g, gcs)) }()
	fail("dashboard: %v", http.Serve(d, dash))
}

func (h *head) list() []node {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := []node{}
	for _, n := range h.nodes {
		if !n.Head && time.Since(n.seen) > patience {
			n.State = "DEAD"
		}
		out = append(out, *n)
	}
	return out
}

func runWorker(me node, address, token string) {
	first, last := "?first=1", time.Now()
	client := &http.Client{Timeout: time.Second}
	for ; ; time.Sleep(beat) {
		body, err := json.Marshal(me)
		if err != nil {
			fail("%v", err)
		}
		req, err := http.NewRequest("POST", "http://"+address+"/beat"+first, strings.NewReader(string(body)))
		if err != nil {
			fail("%v", err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := client.Do(req)
		if err != nil {
			if time.Since(last) > 5*time.Second {
				fail("Failed to connect to GCS at address %s: %v", address, err)
			}
			continue
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			fail("the head at %s answers %s", address, res.Status)
		}
		if first != "" {
			fmt.Println("Ray runtime started.")
		}
		first, last = "", time.Now()
	}
}

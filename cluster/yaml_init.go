package cluster

import (
	"fmt"
	"strconv"
	"strings"
)

const initTop = `# yaml-language-server: $schema=` + SchemaURL + `
# A Ray cluster on Docker hosts. ` + "`raybuild cluster up`" + ` starts it, run again it changes nothing.
name: %s
image: %s          # name, tag or digest; every host runs the same digest

head:
  host: %s

`

const initRest = `
# All keys below are optional, and shown with their defaults. The keys of a node (num_cpus … ssh) may stand here for
# all nodes, or in head or a worker group for its own.
# num_cpus: auto                # all CPUs of the host
# num_gpus: 0
# shm_size: auto                # 30 % of the host's memory; or 1000m
# object_store_memory: 8g       # shm_size / 1.1
# memory: 16g                   # what tasks may reserve; Ray's own default
# resources: {fast_disk: 1}     # custom Ray resources
# labels: {zone: a}             # Ray node labels
# env: {OMP_NUM_THREADS: "1"}
# mounts: ["/data:/data:ro"]    # source:target[:ro]; a source without / is a volume
# ports: {gcs: 6379, dashboard: 8265, workers: 10002-10999}
# args: ["--verbose"]           # further arguments of ray start
# ssh: {user: ubuntu, port: 22, key: ~/.ssh/id_ed25519, jump: bastion}   # else ~/.ssh/config decides
# min_workers: 0                # up succeeds with at least this many workers; all of them
# skip_unreachable: false       # go on without workers that cannot be reached
# share_hosts: false            # allow several nodes on one host (nodes_per_host: 2 in a group)
# filter: false                 # a packet filter lets in members, SSH, and what listened before the cluster came
# allow: []                     # with filter: what else it lets in, such as [8000, 9000-9100, 10.1.0.0/16]
# allow_public: []              # public addresses that are accepted without a filter
# accept_no_auth: false         # run a Ray before 2.52, which has no token: who reaches its ports runs code
# wait: 2m                      # how long nodes may take to join
# kubernetes: {}                # for export to KubeRay: image_pull_secrets: [regcred], arbitrary_uid: true
# pod: {}                       # for the same, of each node: node_selector, tolerations, mounts, gpu_resource
`

// Init returns a commented cluster.yaml, which Load reads. The first host is the head and the others are workers. A
// range of hosts stands for each of them. Without hosts, the cluster runs on this machine. An empty image becomes a
// placeholder, and an empty name becomes "demo". Init fails if a host, the name or the image is not valid.
func Init(name, image string, hosts []string) ([]byte, error) {
	if name == "" {
		name = "demo"
	}
	if image == "" {
		image = "registry.example/ray:latest"
	}
	if err := checkInit(name, image, hosts); err != nil {
		return nil, fmt.Errorf("init cluster: %w", err)
	}
	head, rest := "local", []string(nil)
	if len(hosts) > 0 {
		first, _ := expandHosts(hosts[0]) // checkInit has read it
		head, rest = first[0], append(first[1:], hosts[1:]...)
	}
	var b strings.Builder
	fmt.Fprintf(&b, initTop, strconv.Quote(name), strconv.Quote(image), strconv.Quote(head))
	if len(rest) == 0 {
		b.WriteString("workers: []             # - hosts: [\"ssh://ubuntu@10.0.0.[2-9]\"]\n")
	} else {
		b.WriteString("workers:\n  - hosts:\n")
		for _, h := range rest {
			fmt.Fprintf(&b, "      - %s\n", strconv.Quote(h))
		}
	}
	b.WriteString(initRest)
	out := []byte(b.String())
	if _, err := Load("cluster.yaml", out); err != nil {
		return nil, fmt.Errorf("init cluster: %w", err)
	}
	return out, nil
}

// checkInit names the argument that is wrong. Load would name a line of a file that nobody has written.
func checkInit(name, image string, hosts []string) error {
	if !nameGrammar.MatchString(name) {
		return fmt.Errorf("name %q: %s", clip(name), nameFix)
	}
	if message, fix := imageReference().Check(image); message != "" {
		return fmt.Errorf("image %s: %s", message, fix)
	}
	seen := map[string]bool{}
	for _, pattern := range hosts {
		found, err := parseHosts(pattern)
		if err != nil {
			return fmt.Errorf("host %q: %w; %s", clip(pattern), err, hostsFix)
		}
		for _, h := range found {
			if seen[h.machine()] {
				return fmt.Errorf("host %s is given twice; give each host once", h.ID())
			}
			seen[h.machine()] = true
		}
	}
	return nil
}

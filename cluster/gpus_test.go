package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestCase6GPUsOfOneHost: no two nodes of one host have the same GPU.
func TestCase6GPUsOfOneHost(t *testing.T) {
	t.Parallel()
	const top = "name: demo\nimage: registry/ray\nshare_hosts: true\n"
	for name, c := range map[string]struct{ yaml, want string }{
		"two nodes of one host": {top + "head: {host: u@10.0.0.1}\n" +
			"workers: [{hosts: [\"u@10.0.0.1\"], nodes_per_host: 2, num_gpus: 1}]\n", "0 0[] 1[0] 1[1]"},
		"the head too": {top + "head: {host: u@10.0.0.1, num_gpus: 2}\n" +
			"workers: [{hosts: [\"u@10.0.0.1\"], nodes_per_host: 2, num_gpus: 3}]\n", "0 2[0 1] 3[2 3 4] 3[5 6 7]"},
		"two groups": {top + "head: {host: u@10.0.0.1}\n" +
			"workers: [{name: a, host: u@10.0.0.1, num_gpus: 1}, {name: b, host: u@10.0.0.1},\n" +
			"  {name: c, host: u@10.0.0.1, num_gpus: 2}]\n", "0 0[] 1[0] 0[] 2[1 2]"},
		"a host for each": {"name: demo\nimage: registry/ray\nhead: {host: u@10.0.0.1, num_gpus: 1}\n" +
			"workers: [{hosts: [\"u@10.0.0.[2-3]\"], num_gpus: 2}]\n", "0 1[] 2[] 2[]"},
		"two hosts with two each": {top + "head: {host: u@10.0.0.1}\n" +
			"workers: [{hosts: [\"u@10.0.0.[1-2]\"], nodes_per_host: 2, num_gpus: 1}]\n",
			"0 0[] 1[0] 1[1] 1[0] 1[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := load(t, c.yaml)
			all, err := planContainers(s, factsOfNamed(s), testImage("2.55.0"))
			if err != nil {
				t.Fatal(err)
			}
			got := "0"
			for _, one := range all {
				got += fmt.Sprintf(" %d%v", one.GPUs, one.GPUIDs)
			}
			if got != c.want {
				t.Errorf("the nodes have %s, want %s", got, c.want)
			}
		})
	}
}

// TestCase6OtherGPUsAreAnotherContainer: a node whose GPUs change is made again, and one whose GPUs stay is not.
func TestCase6OtherGPUsAreAnotherContainer(t *testing.T) {
	t.Parallel()
	a := container{GPUs: 1, GPUIDs: []string{"0"}}
	b := container{GPUs: 1, GPUIDs: []string{"1"}}
	if a.parts()["limits"] == b.parts()["limits"] {
		t.Error("nodes with different GPUs are the same container")
	}
	// That of clusters before nodes had numbers of GPUs.
	alone := container{SHM: 1, GPUs: 3, StopTimeout: 4}
	if got := alone.parts()["limits"]; got != digestOf([]int64{1, noFile, 3, 4}) {
		t.Errorf("a node alone on its host has another digest, %s", got)
	}
}

// TestCase27GPUsThatAnEngineCannotGive names host, cause and next step.
func TestCase27GPUsThatAnEngineCannotGive(t *testing.T) {
	t.Parallel()
	node := &container{Host: "u@a", Name: "demo-w", GPUs: 2, GPUIDs: []string{"2", "3"}}
	for said, want := range map[string]string{
		`could not select device driver "" with capabilities: [[gpu]]`:  "nvidia-ctk runtime configure",
		"nvidia-container-cli: device error: 2: unknown device":         "GPUs 2, 3); nvidia-smi -L",
		"CDI device injection failed: unresolvable CDI devices x":       "lower num_gpus or nodes_per_host",
		"nvidia-container-cli: initialization error: driver not loaded": "driver does not work there",
		"no space left on device":                                       "no space left on device",
	} {
		cause := errors.New(said)
		err := explainGPUs(node, cause)
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is explained by %v, want %q", said, err, want)
		}
	}
	if err := explainGPUs(&container{}, errors.New("unknown device")); err.Error() != "unknown device" {
		t.Errorf("a node without GPUs: %v", err)
	}
	if explainGPUs(node, nil) != nil {
		t.Error("no error is explained")
	}
	// An Engine that lists no runtime for GPUs may still have one (docker run --gpus works there).
	s := load(t, threeHosts+"num_gpus: 1\n")
	all, err := planContainers(s, factsOfNamed(s), testImage("2.55.0"))
	if err != nil || !slices.ContainsFunc(all, func(c container) bool { return c.GPUs == 1 }) {
		t.Errorf("a host without a runtime for GPUs is refused: %v", err)
	}
}

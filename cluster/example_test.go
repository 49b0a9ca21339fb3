package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/raybuild/raybuild/cluster"
)

const twoNodes = `
name: demo
image: registry.example/ray@sha256:1111111111111111111111111111111111111111111111111111111111111111
head: {host: ubuntu@10.0.0.1, num_cpus: 2, shm_size: 1g}
workers: [{name: gpu, host: ubuntu@10.0.0.2, num_cpus: 8, num_gpus: 1, shm_size: 8g}]
`

func ExampleLoad() {
	spec, err := cluster.Load("cluster.yaml", []byte(twoNodes))
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range spec.Nodes() {
		fmt.Printf("%s: %s on %s, %d CPUs, %d GPUs\n", n.Role, n.ID, n.Host.ID(), n.CPUs, n.GPUs)
	}
	// Output:
	// head: demo-head on ubuntu@10.0.0.1, 2 CPUs, 0 GPUs
	// worker: demo-w-10-0-0-2 on ubuntu@10.0.0.2, 8 CPUs, 1 GPUs
}

func ExampleLoad_problems() {
	_, err := cluster.Load("cluster.yaml", []byte("name: demo\nimage: ray\nhead: {host: local, num_cpu: 2}\n"))
	var bad *cluster.SpecError
	if errors.As(err, &bad) {
		for _, p := range bad.Problems {
			fmt.Printf("line %d, %s: %s\n", p.Line, p.Key, p.Fix)
		}
	}
	// Output:
	// line 3, head.num_cpu: did you mean "num_cpus"?
}

func ExampleExport() {
	spec, err := cluster.Load("cluster.yaml", []byte(twoNodes))
	if err != nil {
		log.Fatal(err)
	}
	image := cluster.ImageFacts{Ref: spec.Image, RayVersion: "2.55.0", User: "1000"} // from ImageOf
	doc, err := cluster.Export(spec, cluster.KubeRay, cluster.ExportOptions{Image: image, Namespace: "ml",
		Operator: "1.6.0"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s", doc)
	// Output:
	// # Cluster demo, written by `raybuild cluster export`.
	// apiVersion: ray.io/v1
	// kind: RayCluster
	// metadata:
	//   name: demo
	//   namespace: ml
	//   labels:
	//     raybuild.cluster: demo
	// spec:
	//   rayVersion: 2.55.0
	//   authOptions:
	//     mode: token
	//   headGroupSpec:
	//     rayStartParams:
	//       dashboard-host: 0.0.0.0
	//       num-cpus: "2"
	//       object-store-memory: "976128930"
	//     template:
	//       spec:
	//         securityContext:
	//           runAsNonRoot: true
	//           runAsUser: 1000
	//           seccompProfile:
	//             type: RuntimeDefault
	//         containers:
	//           - name: ray-head
	//             image: registry.example/ray@sha256:1111111111111111111111111111111111111111111111111111111111111111
	//             resources:
	//               requests:
	//                 cpu: "2"
	//                 memory: 8192Mi
	//               limits:
	//                 cpu: "2"
	//                 memory: 8192Mi
	//             securityContext:
	//               allowPrivilegeEscalation: false
	//               capabilities:
	//                 drop:
	//                   - ALL
	//             env:
	//               - name: RAY_USAGE_STATS_ENABLED
	//                 value: "0"
	//   workerGroupSpecs:
	//     - groupName: gpu
	//       replicas: 1
	//       minReplicas: 1
	//       maxReplicas: 1
	//       rayStartParams:
	//         num-cpus: "8"
	//         num-gpus: "1"
	//         object-store-memory: "7809031440"
	//       template:
	//         spec:
	//           securityContext:
	//             runAsNonRoot: true
	//             runAsUser: 1000
	//             seccompProfile:
	//               type: RuntimeDefault
	//           containers:
	//             - name: ray-worker
	//               image: registry.example/ray@sha256:1111111111111111111111111111111111111111111111111111111111111111
	//               resources:
	//                 requests:
	//                   cpu: "8"
	//                   memory: 32768Mi
	//                   nvidia.com/gpu: "1"
	//                 limits:
	//                   cpu: "8"
	//                   memory: 32768Mi
	//                   nvidia.com/gpu: "1"
	//               securityContext:
	//                 allowPrivilegeEscalation: false
	//                 capabilities:
	//                   drop:
	//                     - ALL
	//               env:
	//                 - name: RAY_USAGE_STATS_ENABLED
	//                   value: "0"
}

func ExampleStartArgs() {
	spec, err := cluster.Load("cluster.yaml", []byte(twoNodes))
	if err != nil {
		log.Fatal(err)
	}
	n := spec.Workers[0]
	args, err := cluster.StartArgs("2.55.0", cluster.StartInput{Role: n.Role, HeadAddress: "10.0.0.1:6379",
		CPUs: n.CPUs, GPUs: n.GPUs, ObjectStore: 7 << 30, Ports: n.Ports, Labels: map[string]string{"zone": "a"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range args {
		fmt.Println(a)
	}
	// Output:
	// ray
	// start
	// --address=10.0.0.1:6379
	// --node-manager-port=6380
	// --object-manager-port=6381
	// --runtime-env-agent-port=6382
	// --dashboard-agent-grpc-port=6383
	// --dashboard-agent-listen-port=52365
	// --metrics-export-port=6384
	// --min-worker-port=10002
	// --max-worker-port=10999
	// --num-cpus=8
	// --num-gpus=1
	// --object-store-memory=7516192768
	// --labels=zone=a
	// --block
}

// images is a registry with one image.
type images struct{}

func (images) Facts(_ context.Context, ref string) (cluster.ImageFacts, error) {
	name, digest, _ := strings.Cut(ref, "@")
	return cluster.ImageFacts{Ref: name + "@" + digest, Digest: digest, RayVersion: "2.52.0"}, nil
}

func ExampleUp() {
	t := &exampleT{}
	defer t.end()
	file, options := cluster.FleetForExamples(t, 2) // two hosts in this process
	spec, err := cluster.Load("cluster.yaml", []byte(file))
	if err != nil {
		log.Fatal(err)
	}
	options.Images = images{}

	ctx := context.Background()
	plan, err := cluster.MakePlan(ctx, spec, options)
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range plan.Actions {
		if a.Kind == cluster.Create {
			fmt.Println("there is no", a.Role, "yet")
		}
	}
	status, err := cluster.Up(ctx, spec, options)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d of %d nodes alive\n", status.Alive, status.Wanted)
	down, err := cluster.Down(ctx, spec.Name, spec.Hosts(), options)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("removed", down.Containers, "containers")
	// Output:
	// there is no head yet
	// there is no worker yet
	// 2 of 2 nodes alive
	// removed 2 containers
}

func ExampleHostError() {
	spec, err := cluster.Load("cluster.yaml", []byte("name: demo\nimage: ray\nhead: {host: local}\n"))
	if err != nil {
		log.Fatal(err)
	}
	spec.Head.Host.Socket = "/nowhere/docker.sock"
	_, err = cluster.Up(context.Background(), spec, cluster.Options{})
	var failed *cluster.HostError
	if errors.As(err, &failed) {
		fmt.Println(failed.Host)
	}
	// Output:
	// unix:///nowhere/docker.sock
}

// exampleT is what a test's *testing.T is for the hosts of an example.
type exampleT struct{ ends []func() }

func (t *exampleT) Helper()           {}
func (t *exampleT) Fatal(args ...any) { log.Fatal(args...) }
func (t *exampleT) Cleanup(f func())  { t.ends = append(t.ends, f) }

func (t *exampleT) TempDir() string {
	dir, err := os.MkdirTemp("", "raybuild-example-")
	if err != nil {
		log.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (t *exampleT) end() {
	for i := range t.ends {
		t.ends[len(t.ends)-1-i]()
	}
}

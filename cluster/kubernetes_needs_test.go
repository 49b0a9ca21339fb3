package cluster

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestCase19PrivateRegistry: an image of one's own lies in a private registry, and no pod could pull it.
func TestCase19PrivateRegistry(t *testing.T) {
	t.Parallel()
	job, service := kubeOptions("2.60.0", ""), kubeOptions("2.60.0", "")
	job.Kind, job.Entrypoint = RayJob, []string{"python", "train.py"}
	service.Kind, service.Serve = RayService, []byte("applications: [{name: a, import_path: app:app}]\n")
	text := kubeHosts + "kubernetes: {image_pull_secrets: [regcred, other.one], service_account: ray}\n"
	for name, o := range map[string]ExportOptions{"a cluster": kubeOptions("2.60.0", ""), "a job": job,
		"a service": service} {
		spec, whole, doc := exported(t, text, o)
		all := pods(spec)
		if o.Kind == RayJob { // the pod that hands the job in pulls the image, too
			all = append(all, whole.at("spec", "submitterPodTemplate", "spec"))
		}
		for i, pod := range all {
			if got := pod.at("imagePullSecrets").String(); got != "- name: regcred\n- name: other.one" ||
				pod.at("serviceAccountName").value != "ray" {
				t.Errorf("%s: pod %d pulls with %q\n%s", name, i, got, doc)
			}
		}
	}
	if _, _, doc := exported(t, kubeHosts, kubeOptions("2.60.0", "")); strings.Contains(doc, "imagePullSecrets") ||
		strings.Contains(doc, "serviceAccountName") {
		t.Errorf("without the keys the namespace decides:\n%s", doc)
	}
}

// A claim's root belongs to root: the image's user 1000:100 could not write there.
func TestCase19ClaimsAreWritable(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		keys, user string
		group      any // fsGroup
	}{
		"a volume of mounts":         {"mounts: [\"data:/data\"]", "1000:100", 100.0},
		"a claim of the pod":         {"pod: {mounts: [{target: /data, claim: team}]}", "1000:100", 100.0},
		"an image without a group":   {"mounts: [\"data:/data\"]", "1001", 1001.0},
		"another group":              {"mounts: [\"data:/data\"]\nkubernetes: {fs_group: 2000}", "1000:100", 2000.0},
		"where the platform chooses": {"mounts: [\"data:/data\"]\nkubernetes: {arbitrary_uid: true}", "1000:100", nil},
		"its range is known": {"mounts: [\"data:/data\"]\nkubernetes: {arbitrary_uid: true, fs_group: 1000680000}",
			"1000:100", 1000680000.0},
		"a directory of the machine, which kubelet gives to nobody": {"mounts: [\"/data:/data\"]", "1000:100", nil},
		"no volume": {"", "1000:100", nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := kubeOptions("2.60.0", "")
			o.Image.User = tt.user
			spec, _, _ := exported(t, kubeHosts+tt.keys+"\n", o)
			for _, pod := range pods(spec) {
				s := pod.at("securityContext")
				if got := s.at("fsGroup").value; got != tt.group {
					t.Errorf("fsGroup is %v, want %v", got, tt.group)
				}
				if got := s.at("fsGroupChangePolicy").String(); (got == "OnRootMismatch") != (tt.group != nil) {
					t.Errorf("a large volume is walked through at each start: %q", got)
				}
			}
		})
	}
}

// Each volume of Kubernetes has a form, and mounts of hosts become one unless the pod says what is there.
func TestCase19Volumes(t *testing.T) {
	t.Parallel()
	spec, _, doc := exported(t, kubeHosts+`
mounts: ["data:/data:ro", "/models:/models", "Big_Cache:/cache"]
pod:
  mounts:
    - {target: /models, claim: models, sub_path: llama/8b, read_only: true}
    - {target: /conf, config_map: conf}
    - {target: /token, secret: hf}
    - {target: /nvme, host_path: /mnt/nvme}
    - {target: /spill, empty_dir: 50g}
    - {target: /mem, memory: 2g}
    - {target: /scratch, ephemeral: 1000m, storage_class: fast}
`, kubeOptions("2.60.0", ""))
	pod := pods(spec)[1]
	for i, want := range []struct{ target, volume string }{
		{"/data", "persistentVolumeClaim: {claimName: data, readOnly: true}"},
		{"/cache", "persistentVolumeClaim: {claimName: big-cache, readOnly: false}"},
		{"/models", "persistentVolumeClaim: {claimName: models, readOnly: true}"},
		{"/conf", "configMap: {name: conf}"}, {"/token", "secret: {secretName: hf}"},
		{"/nvme", "hostPath: {path: /mnt/nvme}"}, {"/spill", "emptyDir: {sizeLimit: 50Gi}"},
		{"/mem", "emptyDir: {medium: Memory, sizeLimit: 2Gi}"},
		{"/scratch", "ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], " +
			"resources: {requests: {storage: 1000Mi}}, storageClassName: fast}}}"},
	} {
		mount, volume := pod.at("containers", 0, "volumeMounts", i), pod.at("volumes", i)
		if mount.at("mountPath").value != want.target || mount.at("name").String() != volume.at("name").String() {
			t.Errorf("mount %d is %s, of volume %s; want %s", i, mount, volume, want.target)
		}
		key, _, _ := strings.Cut(want.volume, ":")
		if got := flow(volume.at(key).value); key+": "+got != want.volume {
			t.Errorf("%s is %s: %s, want %s", want.target, key, got, want.volume)
		}
	}
	models := pod.at("containers", 0, "volumeMounts", 2)
	if models.at("subPath").value != "llama/8b" || models.at("readOnly").value != true {
		t.Errorf("/models is %s", models)
	}
	if !strings.Contains(doc, "# - volume data is the persistent volume claim data, which has to be there") ||
		strings.Contains(doc, "# - /models is read from each Kubernetes node") {
		t.Errorf("the notes say what is not so:\n%s", doc)
	}
	limit := pod.at("containers", 0, "resources", "limits", "memory").String()
	if plain, _, _ := exported(t, kubeHosts, kubeOptions("2.60.0", "")); limit ==
		pods(plain)[1].at("containers", 0, "resources", "limits", "memory").String() {
		t.Errorf("what lies in memory counts as the pod's: it has %s with and without", limit)
	}
}

// flow writes a tree in one line.
func flow(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var all []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			all = append(all, k+": "+flow(v[k]))
		}
		return "{" + strings.Join(all, ", ") + "}"
	case []any:
		var all []string
		for _, one := range v {
			all = append(all, flow(one))
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	return part{v}.String()
}

// GPU machines are tainted, labelled, and give GPUs by the vendor's name.
func TestCase19MachinesWithGPUs(t *testing.T) {
	t.Parallel()
	spec, _, doc := exported(t, kubeHosts+`
  - name: amd
    hosts: [u@10.0.0.9]
    num_cpus: 1
    num_gpus: 2
    shm_size: 1g
    devices: [/dev/kfd, /dev/dri]
    pod:
      node_selector: {gpu.vendor/kind: mi300, ready: "true"}
      tolerations:
        - {key: amd.com/gpu, effect: NoSchedule}
        - {key: pool, value: gpu}
        - {key: node.kubernetes.io/unreachable, effect: NoExecute, seconds: 30}
      limits: {rdma/hca: "1", ephemeral-storage: 100Gi}
      priority_class: high
      runtime_class: amd
      labels: {team: search}
      annotations: {note: "a b"}
  - {name: mig, hosts: [u@10.0.0.10], num_cpus: 1, num_gpus: 1, pod: {gpu_resource: nvidia.com/mig-1g.10gb}}
  - {name: cdi, hosts: [u@10.0.0.11], num_cpus: 1, num_gpus: 1, devices: [intel.com/gpu=0]}
  - {name: npu, hosts: [u@10.0.0.12], num_cpus: 1, num_gpus: 1, devices: [/dev/davinci0]}
`, kubeOptions("2.60.0", ""))
	amd := pods(spec)[2]
	want := "- effect: NoSchedule\n  key: amd.com/gpu\n  operator: Exists\n" +
		"- key: pool\n  operator: Equal\n  value: gpu\n" +
		"- effect: NoExecute\n  key: node.kubernetes.io/unreachable\n  operator: Exists\n  tolerationSeconds: 30"
	if got := amd.at("tolerations").String(); got != want {
		t.Errorf("tolerations\n%s", got)
	}
	if got := flow(amd.at("nodeSelector").value); got != "{gpu.vendor/kind: mi300, ready: \"true\"}" ||
		amd.at("priorityClassName").value != "high" || amd.at("runtimeClassName").value != "amd" {
		t.Errorf("the pod goes to %s\n%s", got, amd)
	}
	if got := flow(spec.at("workerGroupSpecs", 1, "template", "metadata").value); got !=
		"{annotations: {note: a b}, labels: {team: search}}" {
		t.Errorf("the pod has %s", got)
	}
	for i, want := range map[int]string{0: "", 1: `nvidia.com/gpu: "1"`, 2: `amd.com/gpu: "2"`,
		3: `nvidia.com/mig-1g.10gb: "1"`, 4: `intel.com/gpu: "1"`, 5: ""} {
		var got []string
		for line := range strings.Lines(pods(spec)[i].at("containers", 0, "resources", "limits").String()) {
			if strings.Contains(line, "/") && !strings.HasPrefix(line, "rdma/") {
				got = append(got, strings.TrimSpace(line))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("pod %d asks for %q, want %q", i, got, want)
		}
	}
	if limits := amd.at("containers", 0, "resources", "limits"); limits.at("rdma/hca").value != "1" ||
		limits.at("ephemeral-storage").value != "100Gi" {
		t.Errorf("limits\n%s", limits)
	}
	if !strings.Contains(doc, "# - the pods of npu ask for no GPU") {
		t.Errorf("it does not say that npu's pods have no GPU:\n%s", doc)
	}
	if head := pods(spec)[0]; head.at("tolerations").value != nil || head.at("nodeSelector").value != nil {
		t.Errorf("the head has what one group of workers wants: %s", head)
	}
}

// A group that the autoscaler scales has no replicas: to apply the export again would end the pods that it started.
func TestCase19Autoscaling(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		keys           string
		replicas       any
		minimum, maxim float64
		options        string // beside the security context
	}{
		"a fixed number":         {"", 3.0, 3, 3, ""},
		"from nothing":           {"autoscale: {min: 0, max: 10}", nil, 0, 10, ""},
		"from what there is":     {"autoscale: {max: 10}", nil, 3, 10, ""},
		"to less than there was": {"autoscale: {max: 2}", nil, 2, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.TrimSuffix(strings.TrimSpace(kubeHosts), "}")
			if tt.keys != "" {
				text += ", " + tt.keys
			}
			spec, _, _ := exported(t, text+"}\nkubernetes: {idle_timeout: 5m, upscaling: Conservative}\n",
				kubeOptions("2.60.0", ""))
			w, scaled := spec.at("workerGroupSpecs", 0), tt.keys != ""
			if w.at("replicas").value != tt.replicas || w.at("minReplicas").value != tt.minimum ||
				w.at("maxReplicas").value != tt.maxim || (spec.at("enableInTreeAutoscaling").value == true) != scaled {
				t.Errorf("replicas %v, from %v to %v, autoscaling %v", w.at("replicas"), w.at("minReplicas"),
					w.at("maxReplicas"), spec.at("enableInTreeAutoscaling"))
			}
			o := spec.at("autoscalerOptions")
			if scaled && (o.at("idleTimeoutSeconds").value != 300.0 || o.at("upscalingMode").value != "Conservative" ||
				o.at("securityContext", "allowPrivilegeEscalation").value != false) || !scaled && o.value != nil {
				t.Errorf("the autoscaler is told %s", o)
			}
		})
	}
	text := kubeHosts[:strings.LastIndex(kubeHosts, "}")] + ", autoscale: {max: 9}}\n"
	spec, _, _ := exported(t, text, kubeOptions("2.55.0", "1.4.2")) // whose operator hands no token to the autoscaler
	if got := spec.at("autoscalerOptions", "env", 1, "valueFrom", "secretKeyRef", "name").value; got != "demo" {
		t.Errorf("the autoscaler's token is in %v", got)
	}
	if b, err := Export(load(t, text), KubeRay, kubeOptions("1.9.0", "1.2.2")); err == nil ||
		!strings.Contains(err.Error(), "use Ray 2, or remove autoscale") {
		t.Errorf("a Ray without such an autoscaler: %v\n%s", err, b)
	}
}

// A job and a service have a cluster of their own.
func TestCase19JobsAndServices(t *testing.T) {
	t.Parallel()
	o := kubeOptions("2.60.0", "")
	o.Namespace = "ml"
	o.Kind, o.Entrypoint, o.RuntimeEnv = RayJob, []string{"python", "train.py", "--name", "a b", "--lr=0.1"},
		[]byte("pip: [requests]\n")
	_, job, doc := exported(t, kubeHosts, o)
	if job.at("kind").value != "RayJob" ||
		job.at("spec", "entrypoint").value != "python train.py --name 'a b' --lr=0.1" ||
		job.at("spec", "runtimeEnvYAML").value != "pip: [requests]\n" ||
		job.at("metadata", "namespace").value != "ml" ||
		job.at("spec", "shutdownAfterJobFinishes").value != true ||
		job.at("spec", "submitterPodTemplate", "spec", "restartPolicy").value != "Never" {
		t.Errorf("the job is\n%s", doc)
	}
	o = kubeOptions("2.60.0", "")
	o.Kind, o.Serve = RayService, []byte("# ours\napplications:\n- name: a\n  import_path: app:app\n")
	_, service, doc := exported(t, kubeHosts, o)
	if service.at("kind").value != "RayService" || service.at("spec", "serveConfigV2").value != string(o.Serve) ||
		service.at("spec", "rayClusterConfig", "rayVersion").value != "2.60.0" {
		t.Errorf("the service is\n%s", doc)
	}
}

// What KubeRay would take and break is refused, with the way out.
func TestCase19JobsAndServicesRefuse(t *testing.T) {
	t.Parallel()
	type change = func(*ExportOptions)
	job := func(o *ExportOptions) { o.Kind, o.Entrypoint = RayJob, []string{"python", "train.py"} }
	serve := func(text string) change {
		return func(o *ExportOptions) { o.Kind, o.Serve = RayService, []byte(text) }
	}
	for name, tt := range map[string]struct {
		change change
		want   string
	}{
		"another kind":     {func(o *ExportOptions) { o.Kind = "raycronjob" }, "use raycluster, rayjob or rayservice"},
		"a job of nothing": {func(o *ExportOptions) { o.Kind = RayJob }, "-- python train.py"},
		"words for two shells": {func(o *ExportOptions) {
			o.Kind, o.Entrypoint = RayJob, []string{"python", "-c", "print($(id))"}
		}, "put the command into a script of the image"},
		"an environment for a shell": {func(o *ExportOptions) {
			job(o)
			o.RuntimeEnv = []byte("env_vars: {A: $(id)}")
		}, "which the shell of KubeRay's submitter would read"},
		"an environment that is none": {func(o *ExportOptions) {
			job(o)
			o.RuntimeEnv = []byte("- a")
		}, "write a mapping"},
		"an operator without a token": {func(o *ExportOptions) {
			job(o)
			o.Operator = "1.4.2"
		}, "update KubeRay"},
		"a Ray of long ago": {func(o *ExportOptions) {
			job(o)
			o.Image.RayVersion = "1.13.0"
		}, "needs Ray 2"},
		"a service of nothing":       {serve(""), "--serve-config FILE"},
		"a service without any":      {serve("a: 1"), "has no applications"},
		"a service that is none":     {serve("["), "read the configuration of Serve"},
		"a port that nobody reaches": {serve("applications: [{name: a}]\nhttp_options: {port: 9000}"), "remove it"},
		"a host that nobody reaches": {serve("applications: [{name: a}]\nhttp_options: {host: \"::1\"}"), "remove it"},
	} {
		o := kubeOptions("2.60.0", "")
		tt.change(&o)
		if b, err := Export(load(t, kubeHosts), KubeRay, o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s\n%s", name, err, tt.want, b)
		}
	}
}

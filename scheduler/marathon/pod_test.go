package marathon

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

func mustDecodePod(t failer, body string) *spec.App {
	t.Helper()
	pod, err := DecodePod([]byte(body), testOptions())
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return pod
}

// checkPodRoundTrip: what is read back can be sent again, and is then no change.
func checkPodRoundTrip(t failer, pod *spec.App, o Options) {
	t.Helper()
	body, err := json.Marshal(EncodePod(pod))
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	again, err := decodePod(body, pod.Role, o)
	if err != nil {
		t.Fatalf("own output refused: %v\n%s", err, body)
	}
	first := *pod
	first.Version, first.LastScaling, first.LastConfigChange = time.Time{}, time.Time{}, time.Time{}
	if diff := cmp.Diff(&first, again); diff != "" {
		t.Fatalf("decoded again it differs (-first +again):\n%s\n%s", diff, body)
	}
	updated, err := UpdatePod(pod, body, o)
	if err != nil {
		t.Fatalf("PUT of the GET body: %v\n%s", err, body)
	}
	if !ConfigEqual(pod, updated) || updated.Instances != pod.Instances || !updated.Version.Equal(pod.Version) {
		t.Fatalf("PUT of the GET body is a change:\n%s", cmp.Diff(pod, updated))
	}
}

const fullPod = `{
	"id":"shop/pod","version":"2026-01-01T00:00:00Z","labels":{"a":"b"},"user":"nobody","environment":{"A":"1","S":{"secret":"s"}},
	"secrets":{"s":{"source":"x"}},"networks":[{"name":"blue","labels":{"k":"v"}}],
	"volumes":[{"name":"shared"},{"name":"data","host":"/srv/data"},{"name":"key","secret":"s"}],
	"scaling":{"kind":"Fixed","instances":2,"maxInstances":5},
	"scheduling":{"backoff":{"backoff":0.5,"backoffFactor":2,"maxLaunchDelay":60},"upgrade":{"minimumHealthCapacity":0.5},
		"placement":{"constraints":[{"fieldName":"hostname","operator":"unique"}],"acceptedResourceRoles":["*","*"]},
		"killSelection":"Oldest_First","unreachableStrategy":"disabled"},
	"linuxInfo":{"ipcInfo":{"mode":"PRIVATE","shmSize":16}},"legacySharedCgroups":true,
	"containers":[
		{"name":"web","exec":{"command":{"argv":["nginx","-g","daemon off;"]},"overrideEntrypoint":true},
		 "resources":{"cpus":0.1,"mem":32,"disk":1,"gpus":1},"resourceLimits":{"cpus":"unlimited","mem":64},
		 "endpoints":[{"name":"http","containerPort":80,"hostPort":0,"protocol":["HTTP","udp"],"labels":{"l":"1"},"networkNames":["blue"]}],
		 "image":{"kind":"docker","id":"nginx","forcePull":true,"pullConfig":{"secret":"s"}},"environment":{"B":"2"},"user":"root",
		 "healthCheck":{"http":{"endpoint":"http","path":"/ok","scheme":"https"},"intervalSeconds":5,"timeoutSeconds":1},
		 "check":{"tcp":{"endpoint":"http"}},"volumeMounts":[{"name":"shared","mountPath":"tmp"},{"name":"data","mountPath":"/data","readOnly":true}],
		 "artifacts":[{"uri":"http://h/a.tgz","destPath":"a"}],"labels":{"x":"y"},"lifecycle":{"killGracePeriodSeconds":2.5},
		 "linuxInfo":{"seccomp":{"unconfined":true}},"tty":true},
		{"name":"side","exec":{"command":{"shell":"sleep 1"}},"resources":{"cpus":0.2},
		 "volumeMounts":[{"name":"key","mountPath":"/key"}],
		 "healthCheck":{"exec":{"command":{"argv":["test","it's"]}},"delaySeconds":1}}]}`

func TestPodDerivedFields(t *testing.T) {
	pod := mustDecodePod(t, fullPod)
	if pod.ID != "/shop/pod" || pod.Instances != 2 || pod.CPUs != 0.4 || pod.Mem != 192 || pod.Disk != 11 || pod.GPUs != 1 {
		t.Errorf("got %s, %d instances, cpus %v, mem %v, disk %v, gpus %v", pod.ID, pod.Instances, pod.CPUs, pod.Mem, pod.Disk, pod.GPUs)
	}
	want := []spec.HealthCheck{
		{Protocol: "MESOS_HTTPS", Path: "/ok", Endpoint: "http", Container: "web", GracePeriod: 300 * time.Second, Interval: 5 * time.Second,
			Timeout: time.Second, Delay: 15 * time.Second, MaxConsecutiveFailures: 3, IPProtocol: "IPv4"},
		{Protocol: "COMMAND", Command: `'test' 'it'\''s'`, Container: "side", GracePeriod: 300 * time.Second, Interval: time.Minute,
			Timeout: 20 * time.Second, Delay: time.Second, MaxConsecutiveFailures: 3, IPProtocol: "IPv4"},
	}
	if diff := cmp.Diff(want, pod.HealthChecks); diff != "" {
		t.Error(diff)
	}
	if got := pod.Pod.Containers[0].Endpoints[0].Transports(); !slices.Equal(got, []string{"tcp", "udp"}) {
		t.Errorf("transports %v", got)
	}
	checkPodRoundTrip(t, pod, testOptions())
}

func TestPodDefaults(t *testing.T) {
	pod := mustDecodePod(t, `{"id":"p","containers":[{"name":"c","exec":{"command":{"shell":"sleep 1"}}}]}`)
	if pod.Instances != 1 || pod.CPUs != 1.1 || pod.Mem != 160 || pod.Disk != 10 || pod.Backoff != time.Second || pod.BackoffFactor != 1.15 ||
		pod.MaxLaunchDelay != 300*time.Second || pod.Upgrade != (spec.UpgradeStrategy{MinimumHealthCapacity: 1, MaximumOverCapacity: 1}) ||
		pod.Unreachable != (spec.UnreachableStrategy{}) || pod.KillSelection != spec.YoungestFirst || pod.Role != "*" ||
		len(pod.Networks) != 1 || pod.Networks[0].Mode != spec.NetworkHost || pod.PortDefinitions != nil || pod.Container != nil {
		t.Errorf("got %+v", pod)
	}
	checkPodRoundTrip(t, pod, testOptions())
}

// TestPodCanonicalForm shows what clients read.
func TestPodCanonicalForm(t *testing.T) {
	pod := mustDecodePod(t, fullPod)
	pod.Version = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	got := append(mustMarshal(t, EncodePod(pod)), '\n')
	golden := "testdata/pod.golden"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// pod is a definition whose only container and further keys are given.
func podBody(container, more string) string {
	if more != "" {
		more = "," + more
	}
	return `{"id":"/p","containers":[{"name":"c","exec":{"command":{"shell":"x"}}` + container + `}]` + more + `}`
}

func TestPodFaults(t *testing.T) {
	const hostVolume = `,"volumeMounts":[{"name":"v","mountPath":"d"}]`
	const resident = `"volumes":[{"name":"v","persistent":{"size":1}}]`
	for name, c := range map[string]struct{ body, path, text string }{
		"no json":                     {`{`, "", "Invalid JSON"},
		"no id":                       {`{"containers":[{"name":"c","image":{"kind":"DOCKER","id":"i"}}]}`, "/id", "error.path.missing"},
		"no containers":               {`{"id":"/p"}`, "/containers", "error.path.missing"},
		"empty containers":            {`{"id":"/p","containers":[]}`, "/containers", "error.minLength"},
		"name":                        {`{"id":"/p","containers":[{"name":"C_1","image":{"kind":"DOCKER","id":"i"}}]}`, "/containers(0)/name", "error.pattern"},
		"long name":                   {`{"id":"/p","containers":[{"name":"` + strings.Repeat("a", 64) + `"}]}`, "/containers(0)/name", "error.pattern"},
		"env name":                    {podBody(`,"environment":{"bad variable name":"x"}`, ""), "/containers(0)/environment/bad variable name", "error.pattern"},
		"env type":                    {podBody("", `"environment":{"A":1}`), "/environment/A", "error.expected.jsstring"},
		"image kind":                  {podBody(`,"image":{"kind":"OCI","id":"i"}`, ""), "/containers(0)/image/kind", "error.unknown.enum.literal"},
		"shell and argv":              {`{"id":"/p","containers":[{"name":"c","exec":{"command":{"shell":"x","argv":["y"]}}}]}`, "/containers(0)/exec/command", "must have either shell or argv"},
		"no command":                  {`{"id":"/p","containers":[{"name":"c","exec":{"command":{}}}]}`, "/containers(0)/exec/command", "error.path.missing"},
		"empty argv":                  {`{"id":"/p","containers":[{"name":"c","exec":{"command":{"argv":[]}}}]}`, "/containers(0)/exec/command/argv", "error.minLength"},
		"negative":                    {podBody(`,"resources":{"mem":-1}`, ""), "/containers(0)/resources/mem", "error.min"},
		"instances":                   {podBody("", `"scaling":{"instances":0.5}`), "/scaling/instances", "error.expected.int"},
		"scaling kind":                {podBody("", `"scaling":{"kind":"elastic"}`), "/scaling/kind", "error.unknown.enum.literal"},
		"backoff":                     {podBody("", `"scheduling":{"backoff":{"backoffFactor":0.5}}`), "/scheduling/backoff/backoffFactor", "error.min"},
		"two checks":                  {podBody(`,"healthCheck":{"tcp":{"endpoint":"e"},"exec":{"command":{"shell":"x"}}}`, ""), "/containers(0)/healthCheck", "exactly one"},
		"constraint as list":          {podBody("", `"scheduling":{"placement":{"constraints":[["hostname","UNIQUE"]]}}`), "/scheduling/placement/constraints(0)", "error.expected.jsobject"},
		"protocol":                    {podBody(`,"endpoints":[{"name":"e","hostPort":0,"protocol":["sctp"]}]`, ""), "/containers(0)/endpoints(0)/protocol(0)", "error.unknown.enum.literal"},
		"root":                        {`{"id":"/","containers":[{"name":"c","image":{"kind":"DOCKER","id":"i"}}]}`, "/id", "must not be root"},
		"reserved":                    {`{"id":"/a/tasks","containers":[{"name":"c","image":{"kind":"DOCKER","id":"i"}}]}`, "/id", "reserved"},
		"nothing to run":              {`{"id":"/p","containers":[{"name":"c"}]}`, "/containers(0)", "exec"},
		"undeclared secret":           {podBody("", `"environment":{"A":{"secret":"s"}}`), "/environment/A/secret", "references an undefined secret"},
		"undeclared pull secret":      {podBody(`,"image":{"kind":"DOCKER","id":"i","pullConfig":{"secret":"s"}}`, ""), "/containers(0)/image/pullConfig/secret", "references an undefined secret"},
		"same containers":             {`{"id":"/p","containers":[{"name":"c","image":{"kind":"DOCKER","id":"i"}},{"name":"c","image":{"kind":"DOCKER","id":"i"}}]}`, "/containers", "Container names must be unique."},
		"same endpoints":              {podBody(`,"endpoints":[{"name":"e","hostPort":0},{"name":"e","hostPort":0}]`, ""), "/containers", "Endpoint names must be unique."},
		"same host ports":             {podBody(`,"endpoints":[{"name":"e","hostPort":8080},{"name":"f","hostPort":8080}]`, ""), "/containers", "Host ports must be unique."},
		"same container ports":        {podBody(`,"endpoints":[{"name":"e","containerPort":80},{"name":"f","containerPort":80}]`, `"networks":[{"name":"n"}]`), "/containers", "Container ports must be unique."},
		"container port in host mode": {podBody(`,"endpoints":[{"name":"e","containerPort":80,"hostPort":0}]`, ""), "/containers(0)/endpoints(0)/containerPort", "not allowed"},
		"no host port in host mode":   {podBody(`,"endpoints":[{"name":"e"}]`, ""), "/containers(0)/endpoints(0)/hostPort", "required"},
		"no container port":           {podBody(`,"endpoints":[{"name":"e","hostPort":0}]`, `"networks":[{"name":"n"}]`), "/containers(0)/endpoints(0)/containerPort", "required"},
		"no port":                     {podBody(`,"endpoints":[{"name":"e"}]`, `"networks":[{"mode":"container/bridge"}]`), "/containers(0)/endpoints(0)", "containerPort or hostPort"},
		"unknown network":             {podBody(`,"endpoints":[{"name":"e","containerPort":80,"networkNames":["x"]}]`, `"networks":[{"name":"n"}]`), "/containers(0)/endpoints(0)/networkNames(0)", "no network"},
		"which network":               {podBody(`,"endpoints":[{"name":"e","containerPort":80,"hostPort":0}]`, `"networks":[{"name":"n"},{"name":"m"}]`), "/containers(0)/endpoints(0)", "exactly one"},
		"host and container":          {podBody("", `"networks":[{"mode":"host"},{"name":"m"}]`), "/networks", "either one host"},
		"unknown endpoint":            {podBody(`,"healthCheck":{"http":{"endpoint":"x"}}`, ""), "/containers(0)/healthCheck/http/endpoint", "got x, expected one of: []"},
		"unknown checked endpoint":    {podBody(`,"check":{"tcp":{"endpoint":"x"}}`, ""), "/containers(0)/check/tcp/endpoint", "got x, expected one of: []"},
		"slow check":                  {podBody(`,"healthCheck":{"exec":{"command":{"shell":"x"}},"intervalSeconds":2}`, ""), "/containers(0)/healthCheck/timeoutSeconds", "got 20, expected less than intervalSeconds, which is 2"},
		"unmounted":                   {podBody("", `"volumes":[{"name":"v"}]`), "/volumes(0)", "mounted by no container"},
		"no such volume":              {podBody(hostVolume, ""), "/containers(0)/volumeMounts(0)/name", `no volume with name "v"`},
		"same mounts":                 {podBody(`,"volumeMounts":[{"name":"v","mountPath":"d"},{"name":"v","mountPath":"d"}]`, `"volumes":[{"name":"v"}]`), "/containers(0)/volumeMounts", "unique"},
		"same volumes":                {podBody(hostVolume, `"volumes":[{"name":"v"},{"name":"v"}]`), "/volumes", "Volume names must be unique."},
		"limit":                       {podBody(`,"resourceLimits":{"mem":1}`, ""), "/containers(0)/resourceLimits/mem", "(128.0)"},
		"max instances":               {podBody("", `"scaling":{"instances":3,"maxInstances":2}`), "/scaling/maxInstances", "got 2, expected 3 or more"},
		"unreachable":                 {podBody("", `"scheduling":{"unreachableStrategy":{"inactiveAfterSeconds":2,"expungeAfterSeconds":1}}`), "/scheduling/unreachableStrategy", "inactiveAfterSeconds (2)"},
		"constraint":                  {podBody("", `"scheduling":{"placement":{"constraints":[{"fieldName":"a","operator":"MAX_PER","value":"x"}]}}`), "/scheduling/placement/constraints(0)", "MAX_PER needs a number"},
		"role":                        {podBody("", `"role":"other"`), "/role", "got other"},
		"accepted roles":              {podBody("", `"scheduling":{"placement":{"acceptedResourceRoles":["x"]}}`), "/scheduling/placement/acceptedResourceRoles", "can only contain"},
		"artifact":                    {podBody(`,"artifacts":[{"uri":"a b"}]`, ""), "/containers(0)/artifacts(0)/uri", "invalid syntax"},
		"seccomp":                     {podBody(`,"linuxInfo":{"seccomp":{}}`, ""), "/containers(0)/linuxInfo/seccomp", "either profileName"},
		"shm of the parent":           {podBody("", `"linuxInfo":{"ipcInfo":{"mode":"SHARE_PARENT","shmSize":1}}`), "/linuxInfo/ipcInfo/shmSize", "PRIVATE"},
		"resident role":               {podBody(hostVolume, resident+`,"role":"*"`), "/role", "role of their own"},
		"resident surplus":            {podBody(hostVolume, resident+`,"role":"dev","scheduling":{"upgrade":{"maximumOverCapacity":0.1}}`), "/scheduling/upgrade/maximumOverCapacity", "got 0.1, expected 0.0"},
		"resident unreachable":        {podBody(hostVolume, resident+`,"role":"dev","scheduling":{"unreachableStrategy":{}}`), "/", "must be disabled"},
		"resident path":               {podBody(`,"volumeMounts":[{"name":"v","mountPath":"/d"}]`, resident+`,"role":"dev"`), "/containers(0)/volumeMounts(0)/mountPath", "must be a name"},
		"resident size":               {podBody(hostVolume, `"volumes":[{"name":"v","persistent":{"size":0}}],"role":"dev"`), "/volumes(0)/persistent/size", "more than 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodePod([]byte(c.body), testOptions())
			var f *Faults
			if !errors.As(err, &f) {
				t.Fatalf("got %v", err)
			}
			if c.path == "" {
				if f.Syntax == "" {
					t.Errorf("got %v", err)
				}
				return
			}
			i := slices.IndexFunc(f.Details, func(d Fault) bool { return d.Path == c.path })
			if i < 0 || !strings.Contains(strings.Join(f.Details[i].Errors, "; "), c.text) {
				t.Errorf("got %v, want %s: %s", err, c.path, c.text)
			}
		})
	}
}

// TestPodFeatures: secrets and GPUs need their features.
func TestPodFeatures(t *testing.T) {
	_, err := DecodePod([]byte(fullPod), Options{})
	var f *Faults
	if !errors.As(err, &f) {
		t.Fatalf("got %v", err)
	}
	var paths []string
	for _, d := range f.Details {
		paths = append(paths, d.Path)
	}
	want := []string{"/containers(0)/image/pullConfig", "/containers(0)/resources/gpus", "/secrets", "/volumes(2)/secret"}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Error(diff)
	}
}

func TestPodUpdate(t *testing.T) {
	current := mustDecodePod(t, podBody("", ""))
	current.Version, current.LastScaling = time.Unix(1, 0), time.Unix(2, 0)
	current.LastConfigChange = time.Unix(3, 0)
	scaled, err := UpdatePod(current, []byte(podBody("", `"scaling":{"instances":4}`)), testOptions())
	if err != nil || !ConfigEqual(current, scaled) || scaled.Instances != 4 || scaled.Version != current.Version {
		t.Errorf("scale: %v, %+v", err, scaled)
	}
	changed, err := UpdatePod(current, []byte(podBody(`,"tty":true`, "")), testOptions())
	if err != nil || ConfigEqual(current, changed) {
		t.Errorf("change: %v, %+v", err, changed)
	}
	app := mustDecode(t, `{"id":"/p","cmd":"sleep 1"}`)
	if ConfigEqual(current, app) || ConfigEqual(app, current) {
		t.Error("an app equals a pod")
	}
	const mount, role = `,"volumeMounts":[{"name":"v","mountPath":"d"}]`, `,"role":"dev"`
	resident := mustDecodePod(t, podBody(mount, `"volumes":[{"name":"v","persistent":{"size":1}}]`+role))
	_, err = UpdatePod(resident, []byte(podBody(mount+`,"resources":{"cpus":2}`, `"volumes":[{"name":"v","persistent":{"size":2}}]`+role)), testOptions())
	if err == nil || !strings.Contains(err.Error(), "Persistent volumes can not be changed!") || !strings.Contains(err.Error(), "/cpus: ") {
		t.Errorf("resident: %v", err)
	}
}

// TestResidentPodUpdate: volumes, resources and host ports are frozen, everything else is free.
func TestResidentPodUpdate(t *testing.T) {
	body := func(a, b, rest string) string {
		const mount = `"volumeMounts":[{"name":"v","mountPath":"d"}]`
		return `{"id":"/p","volumes":[{"name":"v","persistent":{"size":1}}]` + rest + `,"containers":[{"name":"a","image":{"kind":"DOCKER","id":"i"},` + mount + a +
			`},{"name":"b","image":{"kind":"DOCKER","id":"i"}` + b + `}]}`
	}
	const port = `,"endpoints":[{"name":"e","hostPort":0}]`
	current := mustDecodePod(t, body(port, "", ""))
	if !current.Unreachable.Disabled || current.Upgrade != (spec.UpgradeStrategy{MinimumHealthCapacity: 0.5}) || current.Role != "*" {
		t.Errorf("defaults: %+v %+v %s", current.Unreachable, current.Upgrade, current.Role)
	}
	for name, c := range map[string]struct{ body, fault string }{
		"the same":         {body(port, "", ""), ""},
		"its role":         {body(port, "", `,"role":"*"`), ""},
		"another command":  {body(port+`,"exec":{"command":{"shell":"x"}}`, "", ""), ""},
		"instances":        {body(port, "", `,"scaling":{"instances":3}`), ""},
		"mem":              {body(port+`,"resources":{"mem":1}`, "", ""), "/containers(0)/resources/mem: Resident tasks: resource requirements can not be changed!"},
		"moved":            {body(port+`,"resources":{"disk":1}`, `,"resources":{"gpus":1}`, ""), "/containers(1)/resources/gpus: Resident tasks"},
		"executor":         {body(port, "", `,"executorResources":{"cpus":1}`), "/executorResources: Resident tasks"},
		"renamed, changed": {strings.Replace(body(port, `,"resources":{"cpus":2}`, ""), `"name":"b"`, `"name":"c"`, 1), "/containers: Resident tasks: resource requirements"},
		"host port":        {body(`,"endpoints":[{"name":"e","hostPort":80}]`, "", ""), "/containers: Resident tasks: host ports can not be changed!"},
		"no host port":     {body("", "", ""), "/containers: Resident tasks: host ports can not be changed!"},
		"volume":           {strings.Replace(body(port, "", ""), `"size":1`, `"size":2`, 1), "/: Persistent volumes can not be changed!"},
		"stateless":        {podBody("", ""), "/: Persistent volumes can not be changed!"},
		"surplus":          {body(port, "", `,"scheduling":{"upgrade":{"maximumOverCapacity":1}}`), "/scheduling/upgrade/maximumOverCapacity: got 1.0, expected 0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions()
			o.Features = map[string]bool{FeatureGPU: true}
			_, err := UpdatePod(current, []byte(c.body), o)
			if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %v, want %s", err, c.fault)
			}
		})
	}
}

// TestPodInTree: pods take no service ports, and share the ids of apps.
func TestPodInTree(t *testing.T) {
	pod := mustDecodePod(t, podBody(`,"endpoints":[{"name":"e","hostPort":0}]`, ""))
	app := mustDecode(t, `{"id":"/p/a","cmd":"sleep 1"}`)
	tree := map[spec.AppID]*spec.App{pod.ID: pod, app.ID: app}
	if err := AssignServicePorts(tree, nil, 10000, 10000); err != nil || tree[pod.ID] != pod {
		t.Errorf("ports: %v", err)
	}
	if err := ValidateTree(Tree{Apps: tree}); err == nil || !strings.Contains(err.Error(), "/p is a pod, so /p/a") {
		t.Errorf("tree: %v", err)
	}
}

// podFragments are values of a container's and of a pod's keys; TestPodProperty combines them.
var (
	containerFragments = map[string][]string{
		"image":        {`{"kind":"DOCKER","id":"i"}`, `{"kind":"APPC","id":"i","labels":[{"name":"a","value":"b"}]}`},
		"resources":    {`{}`, `{"cpus":0.001,"mem":1.5}`, `{"disk":7}`},
		"endpoints":    {`[]`, `[{"name":"e","hostPort":0}]`, `[{"name":"e","containerPort":80}]`, `[{"name":"e","containerPort":80,"hostPort":80,"protocol":[]}]`},
		"environment":  {`{}`, `{"A":"b","S":{"secret":"s"}}`},
		"healthCheck":  {`{"exec":{"command":{"shell":"x"}}}`, `{"tcp":{"endpoint":"e"}}`, `{"http":{"endpoint":"e","path":""}}`},
		"check":        {`{"exec":{"command":{"argv":["x"]}}}`, `{"http":{"endpoint":"e"}}`},
		"volumeMounts": {`[]`, `[{"name":"v","mountPath":"d"}]`},
		"artifacts":    {`[]`, `[{"uri":"x"}]`},
		"lifecycle":    {`{}`, `{"killGracePeriodSeconds":0}`},
		"user":         {`""`, `"u"`}, "tty": {"false"}, "labels": {`{}`, `{"a":""}`}, "resourceLimits": {`{}`, `{"mem":"unlimited"}`},
	}
	podFragments = map[string][]string{
		"volumes":    {`[]`, `[{"name":"v"}]`, `[{"name":"v","host":"/x"}]`, `[{"name":"v","persistent":{"size":1}}]`},
		"networks":   {`[]`, `[{}]`, `[{"mode":"host"}]`, `[{"mode":"container/bridge","labels":{"a":"b"}}]`, `[{"name":"a"},{"name":"b"}]`},
		"scaling":    {`{}`, `{"kind":"fixed","instances":0}`, `{"instances":3,"maxInstances":3}`},
		"scheduling": {`{}`, `{"backoff":{"backoff":1.5},"upgrade":{},"placement":{}}`, `{"unreachableStrategy":"disabled","killSelection":"oldest_first"}`},
		"secrets":    {`{"s":{"source":"x"}}`}, "role": {`"dev"`}, "executorResources": {`{}`, `{"cpus":1}`}, "labels": {`{}`},
		"environment": {`{}`, `{"A":"b"}`}, "legacySharedCgroups": {"false"}, "linuxInfo": {`{}`, `{"ipcInfo":{"mode":"PRIVATE"}}`},
	}
)

func TestPodProperty(t *testing.T) {
	draw := func(t *rapid.T, from map[string][]string, fields ...string) string {
		for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(sortedKeys(from)), 0, 5, rapid.ID[string]).Draw(t, "keys") {
			fields = append(fields, `"`+key+`":`+rapid.SampledFrom(from[key]).Draw(t, key))
		}
		return `{` + strings.Join(fields, ",") + `}`
	}
	rapid.Check(t, func(t *rapid.T) {
		container := draw(t, containerFragments, `"name":"c"`, `"exec":{"command":{"shell":"x"}}`)
		pod, err := DecodePod([]byte(draw(t, podFragments, `"id":"/g/p"`, `"containers":[`+container+`]`)), testOptions())
		if err == nil {
			checkPodRoundTrip(t, pod, testOptions())
		}
	})
}

func FuzzDecodePod(f *testing.F) {
	f.Add([]byte(fullPod))
	f.Add([]byte(podBody("", "")))
	f.Fuzz(func(t *testing.T, body []byte) {
		pod, err := DecodePod(body, testOptions())
		if err != nil {
			var faults *Faults
			if !errors.As(err, &faults) || len(faults.Details) == 0 && faults.Syntax == "" {
				t.Fatalf("an error that is no list of faults: %v", err)
			}
			return
		}
		checkPodRoundTrip(t, pod, testOptions())
	})
}

// refusedPods are the corpus's pods that are refused although no outcome is recorded for them, with a piece of the text.
var refusedPods = map[string]string{
	"rest-api__public__api__v2__examples__pod.json": "timeoutSeconds: got 20, expected less than intervalSeconds",
	"fake_pod_versions":                             "/containers: error.minLength", // made-up answers
	"GET_v2_pods_fake_pod.json":                     "/containers(0)/name: error.path.missing",
	"tests__system__pods__test-pod.json":            "/containers(0)/name: error.pattern", // in mixed case
	"PodsResourceTest.scala__L426":                  "got foo",                            // a role of the test's server
	"PodsResourceTest.scala__L1009":                 "got customMesosRole",
}

func TestPodCorpus(t *testing.T) {
	dir := os.Getenv(corpusEnv)
	if dir == "" {
		t.Skipf("%s is not set", corpusEnv)
	}
	expected := map[string]string{}
	for _, line := range readLines(t, filepath.Join(dir, "EXPECT.tsv")) {
		if name, outcome, ok := strings.Cut(line, "\t"); ok {
			expected[name] = outcome
		}
	}
	tried := 0
	for _, line := range readLines(t, filepath.Join(dir, "INDEX.tsv"))[1:] {
		name, _, _ := strings.Cut(line, "\t")
		body, err := os.ReadFile(filepath.Join(dir, name))
		if name == "" || err != nil {
			continue
		}
		n, err := parse(body)
		if err != nil || n.kind != kindObject || !n.has("containers") {
			continue
		}
		tried++
		t.Run(name, func(t *testing.T) {
			pod, err := DecodePod(body, testOptions())
			text, known := "", false
			for file, piece := range refusedPods {
				if strings.Contains(name, file) {
					text, known = piece, true
				}
			}
			switch {
			case known && (err == nil || !strings.Contains(err.Error(), text)):
				t.Errorf("got %v, want %q", err, text)
			case known:
			case strings.HasPrefix(expected[name], "422"):
				if err == nil {
					t.Errorf("accepted, want %s", expected[name])
				}
			case err != nil:
				t.Errorf("%v, want %q", err, expected[name])
			}
			if err == nil {
				checkPodRoundTrip(t, pod, testOptions())
			}
		})
	}
	t.Logf("%d pods", tried)
	if tried < 40 {
		t.Errorf("only %d pods found", tried)
	}
}

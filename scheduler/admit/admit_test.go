package admit

import (
	"errors"
	"strings"
	"testing"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// docker is an app that may be refused for what its container says only.
func docker(change func(*spec.App)) *spec.App {
	app := &spec.App{ID: "/a", Container: &spec.Container{Type: spec.ContainerDocker, Docker: &spec.Docker{Image: "registry.example:5000/team/web:1.2"}}}
	if change != nil {
		change(app)
	}
	return app
}

func param(key, value string) *spec.App {
	return docker(func(a *spec.App) {
		a.Container.Docker.Parameters = []spec.Parameter{{Key: "env", Value: "A=b"}, {Key: key, Value: value}}
	})
}

func volume(hostPath, containerPath string) *spec.App {
	return docker(func(a *spec.App) {
		a.Container.Volumes = []spec.Volume{{HostPath: hostPath, ContainerPath: containerPath, Mode: "RW"}}
	})
}

// check expects a refusal at path with a piece of text, or none when path is "".
func check(t *testing.T, app *spec.App, p Policy, path, text string) {
	t.Helper()
	err := Check(app, p)
	if path == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var f *marathon.Faults
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a fault at %s", err, path)
	}
	if f.Message != "Object is not valid" || len(f.Details) != 1 || f.Details[0].Path != path || !strings.Contains(f.Details[0].Errors[0], text) {
		t.Errorf("got %v, want %q at %s", f, text, path)
	}
}

const (
	key   = "/container/docker/parameters(1)/key"
	value = "/container/docker/parameters(1)/value"
)

func TestParameters(t *testing.T) {
	for _, c := range []struct{ key, value, path, text string }{
		{"label", "team=red", "", ""},
		{"label", "berth.app=/other", value, "set by Berth itself"},
		{"label", " berth.app", value, "set by Berth itself"},
		{"env", "A=b", "", ""},
		{"add-host", "db:192.0.2.1", "", ""},
		{"ulimit", "nofile=1024:2048", "", ""},
		{"read-only", "true", "", ""},
		{"user", "nobody", "", ""},
		{"cap-drop", "ALL", "", ""},
		{"cap-add", "NET_BIND_SERVICE", "", ""},
		{"cap-add", "cap_sys_nice", "", ""},
		{"cap-add", "SYS_ADMIN", value, "--allow-docker-parameter cap-add"},
		{"cap-add", "NET_ADMIN", value, "not allowed"},
		{"cap-add", "ALL", value, "not allowed"},
		{"sysctl", "net.core.somaxconn=1024", "", ""},
		{"sysctl", "kernel.shmmax=1", value, "only net.*"},
		{"log-driver", "journald", "", ""},
		{"log-driver", "syslog", value, "log driver"},
		{"log-opt", "max-size=10m", "", ""},
		{"log-opt", "syslog-address=unixgram:///dev/log", value, "log option"},
		{"security-opt", "no-new-privileges", "", ""},
		{"security-opt", "seccomp=unconfined", value, "reaches out"},
		{"tmpfs", "/run:size=10m", "", ""},
		{"tmpfs", "/etc/berth/x", value, "SSH host keys"},
		{"stop-signal", "TERM\x00", value, "NUL"},
		{"ip", "192.0.2.7", key, "BERTH_IPS"},
		{"ip6", "2001:db8::7", key, "BERTH_IPS"},
		{"name", "mine", key, "set by Berth"},
		{"hostname", "mine", key, "set by Berth"},
		{"net", "host", key, "--allow-host-network"},
		{"network", "host", key, "--allow-host-network"},
		{"network", "other", key, "BERTH_POOL"},
		{"net", "container:other", key, "BERTH_POOL"},
		{"cpu-quota", "-1", key, "cpus"},
		{"cpu-period", "1000", key, "cpus"},
		{"cpus", "8", key, "cpus"},
		{"memory", "64g", key, "mem"},
		{"publish", "22:22", key, "portMappings"},
		{"restart", "always", key, "set by Berth"},
		{"volumes-from", "other", key, "container.volumes"},
		{"env-file", "/etc/shadow", key, "set by Berth"},
		{"volume", "/:/host", key, "--allow-docker-parameter volume"},
		{"mount", "type=bind,src=/,dst=/host", key, "reaches out"},
		{"device", "/dev/sda", key, "reaches out"},
		{"pid", "host", key, "reaches out"},
		{"ipc", "host", key, "reaches out"},
		{"uts", "host", key, "reaches out"},
		{"userns", "host", key, "reaches out"},
		{"cgroup-parent", "/", key, "reaches out"},
		{"mac-address", "02:00:00:00:00:01", key, "reaches out"},
		{"oom-score-adj", "-1000", key, "reaches out"},
		{"privileged", "true", key, "--allow-privileged"},
		{"privileged", "", key, "--allow-privileged"},
		{"v", "/:/host", key, "not on the list"},
		{"Volume", "/:/host", key, "not on the list"},
		{"--volume", "/:/host", key, "not on the list"},
		{"env=A --privileged", "", key, "not on the list"},
		{"something-new", "x", key, "not on the list of allowed options (add-host, cap-add, cap-drop"},
	} {
		t.Run(c.key+"="+c.value, func(t *testing.T) { check(t, param(c.key, c.value), Policy{}, c.path, c.text) })
	}
}

func TestAllowedParameters(t *testing.T) {
	for name, c := range map[string]struct {
		policy     Policy
		key, value string
		path       string
	}{
		"device by name":            {Policy{Parameters: []string{"device"}}, "device", "/dev/fuse", ""},
		"another by name":           {Policy{Parameters: []string{"device"}}, "pid", "host", key},
		"unknown by name":           {Policy{Parameters: []string{"something-new"}}, "something-new", "x", ""},
		"any capability by name":    {Policy{Parameters: []string{"cap-add"}}, "cap-add", "SYS_ADMIN", ""},
		"any capability, privilege": {Policy{AllowPrivileged: true}, "cap-add", "SYS_ADMIN", ""},
		"privileged":                {Policy{AllowPrivileged: true}, "privileged", "true", ""},
		"privileged by name":        {Policy{Parameters: []string{"privileged"}}, "privileged", "true", key},
		"host network":              {Policy{AllowHostNetwork: true}, "net", "host", ""},
		"other network":             {Policy{AllowHostNetwork: true, Parameters: []string{"net"}}, "net", "other", key},
		"owned by name":             {Policy{Parameters: []string{"ip"}}, "ip", "192.0.2.7", key},
		"label by name":             {Policy{Parameters: []string{"label"}}, "label", "berth.app=/x", value},
		"log-opt by name":           {Policy{Parameters: []string{"log-opt"}}, "log-opt", "syslog-address=udp://192.0.2.1", ""},
	} {
		t.Run(name, func(t *testing.T) { check(t, param(c.key, c.value), c.policy, c.path, "") })
	}
}

func TestHostPaths(t *testing.T) {
	const path = "/container/volumes(0)/hostPath"
	some := Policy{HostPaths: []string{"/srv/data", "/var/log/apps/"}}
	for name, c := range map[string]struct {
		policy     Policy
		host       string
		path, text string
	}{
		"none allowed":        {Policy{}, "/srv/data", path, "--allow-host-path"},
		"itself":              {some, "/srv/data", "", ""},
		"below":               {some, "/srv/data/a/b", "", ""},
		"trailing slash":      {some, "/srv/data/a/", "", ""},
		"prefix with slash":   {some, "/var/log/apps/web", "", ""},
		"doubled slashes":     {some, "//srv//data//a", "", ""},
		"same beginning":      {some, "/srv/database", path, "/srv/data, /var/log/apps/"},
		"above":               {some, "/srv", path, "not below"},
		"dots out":            {some, "/srv/data/../../etc", path, `".."`},
		"dots inside":         {some, "/srv/data/a/../b", path, `".."`},
		"in the sandbox":      {Policy{}, "srv/data", "", ""},
		"out of the sandbox":  {some, "../data", path, "sandbox"},
		"sandbox with colon":  {some, "data:/x", path, "sandbox"},
		"second half of bind": {some, "/srv/data:/x", path, "colon"},
		"line break":          {some, "/srv/data/\n", path, "colon"},
		"everything allowed":  {Policy{HostPaths: []string{"/"}}, "/etc", "", ""},
	} {
		t.Run(name, func(t *testing.T) { check(t, volume(c.host, "/data"), c.policy, c.path, c.text) })
	}
}

func TestContainerPaths(t *testing.T) {
	const path = "/container/volumes(0)/containerPath"
	for target, text := range map[string]string{
		"/data": "", "/etc/berth": "SSH host keys", "/etc/berth/authorized_keys": "SSH host keys", "/etc/x/../berth": "SSH host keys",
		"/etc/berthold": "", "/": "root", "data": "absolute", "/data:ro": "colon",
	} {
		t.Run(target, func(t *testing.T) {
			at := path
			if text == "" {
				at = ""
			}
			check(t, volume("/srv/data", target), Policy{HostPaths: []string{"/srv/data"}}, at, text)
		})
	}
}

func TestLabels(t *testing.T) {
	for label, text := range map[string]string{
		"team=red":                         "",
		"HAPROXY_GROUP=external":           "",
		"BERTH_IPS=192.0.2.1, 2001:db8::1": "",
		"BERTH_IPS=192.0.2.1,192.0.2.1":    "listed twice",
		"BERTH_IPS=192.0.2.1,":             "not an IP address",
		"BERTH_IPS=":                       "not an IP address",
		"BERTH_IDENTITY=float":             "",
		"BERTH_IDENTITY=sticky":            `expected "seat" or "float"`,
		"BERTH_LIMITS=hidden":              "",
		"BERTH_LIMITS=no":                  `expected "visible" or "hidden"`,
		"BERTH_POOL=blue":                  "",
		"BERTH_CPU_MAX=2":                  "",
		"BERTH_CPU_MAX=many":               "no number of cores",
		"BERTH_CPU_STARTUP=2x30s":          "",
		"BERTH_CPU_STARTUP=30s":            "no start-up allowance",
		"BERTH_CPU_BURST=50":               "no CPU time",
		"BERTH_CPU_WEIGHT=1":               "no CPU weight",
		"BERTH_DRAIN_SECONDS=-1":           "no number of seconds",
		"BERTH_WEIGHT=10":                  "",
		"BERTH_WEIGHT=0":                   "no weight",
		"BERTH_POOL=":                      "must not be empty",
		"BERTH_TAGS=":                      "",
		"BERTH_SERVICE=web":                "",
		"BERTH_IP=192.0.2.1":               "Berth knows BERTH_CPU_BURST, BERTH_CPU_MAX, ",
		"berth_ips=192.0.2.1":              "unknown label",
		"berth.app=/other":                 "set by Berth itself",
	} {
		t.Run(label, func(t *testing.T) {
			key, value, _ := strings.Cut(label, "=")
			at := "/labels/" + key
			if text == "" {
				at = ""
			}
			check(t, &spec.App{ID: "/a", Cmd: "run", Labels: map[string]string{key: value}}, Policy{}, at, text)
		})
	}
}

func TestHeadroom(t *testing.T) {
	at := "/labels/BERTH_CPU_MAX"
	app := func(cpus float64, held string) *spec.App {
		return &spec.App{ID: "/a", Cmd: "run", CPUs: cpus, Labels: map[string]string{"BERTH_CPU_MAX": held}}
	}
	check(t, app(1, "1"), Policy{}, "", "")
	check(t, app(0.5, "1.5"), Policy{}, "", "")
	check(t, app(1.5, "1"), Policy{}, at, "less than the app's cpus (1.5)")
	check(t, app(1.5, "x"), Policy{}, at, "no number of cores")
	pod := app(1, "2")
	pod.Pod = &spec.Pod{}
	check(t, pod, Policy{Pods: true}, at, "a quota each")
}

func TestFloatingInstancesHaveNoPins(t *testing.T) {
	labels := map[string]string{"BERTH_IDENTITY": "float", "BERTH_IPS": "192.0.2.1"}
	check(t, &spec.App{ID: "/a", Cmd: "run", Labels: labels}, Policy{}, "/labels/BERTH_IDENTITY", "keep no addresses")
}

func TestContainer(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(*spec.App)
		policy     Policy
		path, text string
	}{
		"plain":                                 {nil, Policy{}, "", ""},
		"host mode":                             {func(a *spec.App) { a.Networks = []spec.Network{{Mode: spec.NetworkHost}} }, Policy{}, "", ""},
		"privileged":                            {func(a *spec.App) { a.Container.Docker.Privileged = true }, Policy{}, "/container/docker/privileged", "--allow-privileged"},
		"privileged is allowed":                 {func(a *spec.App) { a.Container.Docker.Privileged = true }, Policy{AllowPrivileged: true}, "", ""},
		"image is an option":                    {func(a *spec.App) { a.Container.Docker.Image = "--privileged" }, Policy{}, "/container/docker/image", "dash"},
		"image with blank":                      {func(a *spec.App) { a.Container.Docker.Image = "a b" }, Policy{}, "/container/docker/image", "blanks"},
		"persistent":                            {func(a *spec.App) { a.Container.Volumes = persistent("d", "d", "/var/lib/d") }, Policy{}, "", ""},
		"persistent by its name, over the keys": {func(a *spec.App) { a.Container.Volumes = persistent("d", "d", "/etc/berth") }, Policy{}, "/container/volumes(1)/containerPath", "host keys"},
		"persistent with a colon":               {func(a *spec.App) { a.Container.Volumes = persistent("d:ro", "d:ro", "/d") }, Policy{}, "/container/volumes(0)/containerPath", "colon"},
		"linuxInfo":                             {func(a *spec.App) { a.Container.LinuxInfo = []byte("{}") }, Policy{}, "/container/linuxInfo", "docker parameters"},
		"executor":                              {func(a *spec.App) { a.Executor = "/opt/executor" }, Policy{}, "/executor", "not supported"},
		"command executor":                      {func(a *spec.App) { a.Executor = "//cmd" }, Policy{}, "", ""},
	} {
		t.Run(name, func(t *testing.T) { check(t, docker(c.change), c.policy, c.path, c.text) })
	}
}

// persistent is a volume, and a mount of one elsewhere.
func persistent(name, hostPath, containerPath string) []spec.Volume {
	return []spec.Volume{
		{ContainerPath: name, Mode: "RW", Persistent: []byte(`{"type":"root","size":1}`)},
		{HostPath: hostPath, ContainerPath: containerPath, Mode: "RW"},
	}
}

func TestAllRefusalsAtOnce(t *testing.T) {
	app := docker(func(a *spec.App) {
		a.Labels = map[string]string{"BERTH_X": "1", "berth.x": "1"}
		a.Container.Docker.Privileged = true
		a.Container.Docker.Parameters = []spec.Parameter{{Key: "pid", Value: "host"}, {Key: "cap-add", Value: "ALL"}}
		a.Container.Volumes = []spec.Volume{{HostPath: "/etc", ContainerPath: "/"}}
	})
	var f *marathon.Faults
	if err := Check(app, Policy{}); !errors.As(err, &f) || len(f.Details) != 7 {
		t.Errorf("got %v", f)
	}
}

func TestPolicyValidate(t *testing.T) {
	for name, c := range map[string]struct {
		policy Policy
		text   string
	}{
		"empty":         {Policy{}, ""},
		"good":          {Policy{HostPaths: []string{"/", "/srv/data", "/var/"}, Parameters: []string{"device", "volume"}}, ""},
		"relative path": {Policy{HostPaths: []string{"srv"}}, "absolute path"},
		"dots":          {Policy{HostPaths: []string{"/srv/../etc"}}, "absolute path"},
		"owned":         {Policy{Parameters: []string{"ip"}}, "BERTH_IPS"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.policy.Validate()
			if (err == nil) != (c.text == "") || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestTables: a key is in one table only, so that no rule hides another.
func TestTables(t *testing.T) {
	seen := map[string]string{"net": "network", "network": "network", "privileged": "privileged"}
	add := func(table string, keys []string) {
		for _, k := range keys {
			if other, twice := seen[k]; twice && !(k == "security-opt" && table == "by value") {
				t.Errorf("%s is in %s and %s", k, other, table)
			}
			seen[k] = table
		}
	}
	add("owned", sortedKeys(owned))
	add("closed", sortedKeys(closed))
	add("any value", anyValue)
	add("by value", sortedKeys(byValue))
}

// TestOneOfEach: what an instance has one of, and what its size may be.
func TestOneOfEach(t *testing.T) {
	six, unlimited := 6.0, -1.0
	for name, c := range map[string]struct {
		change     func(*spec.App)
		path, text string
	}{
		"one network":    {func(a *spec.App) { a.Networks = []spec.Network{{Mode: spec.NetworkContainer, Name: "a"}} }, "", ""},
		"two networks":   {func(a *spec.App) { a.Networks = make([]spec.Network, 2) }, "/networks", "one address"},
		"IPv6":           {func(a *spec.App) { a.HealthChecks = []spec.HealthCheck{{}, {IPProtocol: "IPv6"}} }, "/healthChecks(1)/ipProtocol", "IPv4"},
		"limits":         {func(a *spec.App) { a.ResourceLimits = &spec.ResourceLimits{CPUs: &six, Mem: &six} }, "", ""},
		"no CPU limit":   {func(a *spec.App) { a.ResourceLimits = &spec.ResourceLimits{CPUs: &unlimited} }, "/resourceLimits/cpus", "hard quota"},
		"no mem limit":   {func(a *spec.App) { a.ResourceLimits = &spec.ResourceLimits{Mem: &unlimited} }, "/resourceLimits/mem", "memory limit"},
		"many":           {func(a *spec.App) { a.Instances = maxInstances }, "", ""},
		"too many":       {func(a *spec.App) { a.Instances = maxInstances + 1 }, "/instances", "at most 250000"},
		"long id":        {func(a *spec.App) { a.ID = spec.AppID("/" + strings.Repeat("a", maxID-1)) }, "", ""},
		"too long an id": {func(a *spec.App) { a.ID = spec.AppID("/" + strings.Repeat("a", maxID)) }, "/id", "200"},
	} {
		t.Run(name, func(t *testing.T) { check(t, docker(c.change), Policy{}, c.path, c.text) })
	}
}

func TestFetch(t *testing.T) {
	for uri, text := range map[string]string{
		"http://x/a.tgz": "", "https://x/a?b=c": "", "HTTPS://x/a": "", "http:///a": "no server",
		"file:///srv/data/a": "", "/srv/data/a": "", "file:///etc/passwd": "allowed host path", "file:///srv/data/../../etc/passwd": "..",
		"file://host/srv/data/a": "file of the host", "a.tgz": "absolute path", "hdfs://nn/a": "scheme hdfs", "s3://b/a": "scheme s3", "ftp://x/a": "scheme ftp",
	} {
		path := "/fetch(0)/uri"
		if text == "" {
			path = ""
		}
		check(t, docker(func(a *spec.App) { a.Fetch = []spec.Fetch{{URI: uri}} }), Policy{HostPaths: []string{"/srv/data"}}, path, text)
	}
	for dest, good := range map[string]bool{"a/b": true, "": true, "../a": false, "/etc/a": false, ".": false, "a/../../b": false} {
		path, text := "/fetch(0)/destPath", "in the sandbox"
		if good {
			path, text = "", ""
		}
		check(t, docker(func(a *spec.App) { a.Fetch = []spec.Fetch{{URI: "http://x/a", DestPath: dest}} }), Policy{}, path, text)
	}
}

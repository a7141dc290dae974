package marathon

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/berth-project/berth/spec"
)

// The kinds of a pod's images.
const (
	imageDocker = "DOCKER"
	imageAppc   = "APPC"
)

func readPodContainer(v value) *spec.PodContainer {
	if !v.object() {
		return nil
	}
	c := &spec.PodContainer{
		Name: or(v.need("name").strMatch(isPodName), ""), Limits: readLimits(v.get("resourceLimits")),
		Image: readPodImage(v.get("image")), Endpoints: compact(list(v.get("endpoints"), readPodEndpoint)),
		Env: compactMap(readPodEnv(v.get("environment"))), User: or(v.get("user").str(), ""),
		Check: readPodCheck(v.get("check")), Mounts: compact(list(v.get("volumeMounts"), readPodMount)),
		Artifacts: compact(list(v.get("artifacts"), readFetch)), Labels: compactMap(v.get("labels").strMap()),
		LinuxInfo: readLinuxInfo(v.get("linuxInfo")), TTY: v.get("tty").boolean(),
	}
	if c.Limits != nil && c.Limits.CPUs == nil && c.Limits.Mem == nil {
		c.Limits = nil
	}
	if exec := v.get("exec"); exec.object() {
		c.Shell, c.Argv = readPodCommand(exec.need("command"))
		c.OverrideEntrypoint = exec.get("overrideEntrypoint").boolean()
	}
	resources := v.get("resources")
	resources.object()
	c.CPUs = or(resources.get("cpus").numberIn(0, math.MaxInt32), 1)
	c.Mem = or(resources.get("mem").numberIn(0, math.MaxInt32), 128)
	c.Disk = or(resources.get("disk").numberIn(0, math.MaxInt32), 0)
	c.GPUs = or(resources.get("gpus").integerIn(0, math.MaxInt16), 0)
	if lifecycle := v.get("lifecycle"); lifecycle.object() {
		c.KillGrace = lifecycle.get("killGracePeriodSeconds").duration()
	}
	c.HealthCheck, c.HealthArgv = readPodHealthCheck(v.get("healthCheck"), c.Name)
	return c
}

// readPodCommand reads {"shell":TEXT} or {"argv":[...]}.
func readPodCommand(v value) (shell string, argv []string) {
	if !v.object() {
		return "", nil
	}
	text, words := v.get("shell").strLen(1, 0), v.get("argv")
	argv = words.strs()
	switch {
	case text != nil && words.ok():
		v.fault("must have either shell or argv")
	case words.ok() && len(argv) == 0 && words.n.kind == kindArray:
		words.fault("error.minLength")
	case text == nil && !words.ok():
		v.fault("error.path.missing")
	}
	return or(text, ""), compact(argv)
}

func readPodImage(v value) *spec.PodImage {
	if !v.object() {
		return nil
	}
	image := &spec.PodImage{
		Kind: or(v.need("kind").enum(imageDocker, imageAppc), ""), ID: or(v.need("id").strLen(1, 1024), ""),
		ForcePull: or(v.get("forcePull").boolean(), false), Labels: compact(list(v.get("labels"), readImageLabel)),
	}
	if pull := v.get("pullConfig"); pull.object() {
		image.PullConfig = or(pull.need("secret").strLen(1, 0), "")
	}
	return image
}

func readImageLabel(v value) *spec.Parameter {
	if !v.object() {
		return nil
	}
	return &spec.Parameter{Key: or(v.need("name").strLen(1, 0), ""), Value: or(v.need("value").str(), "")}
}

func readPodEndpoint(v value) *spec.PodEndpoint {
	if !v.object() {
		return nil
	}
	e := &spec.PodEndpoint{
		Name: or(v.need("name").strMatch(isPodName), ""), ContainerPort: or(readPort(v.get("containerPort")), 0),
		HostPort: readPort(v.get("hostPort")), Protocols: unique(list(v.get("protocol"), readPodProtocol)),
		Labels: compactMap(v.get("labels").strMap()), NetworkNames: compact(unique(v.get("networkNames").strs())),
	}
	if len(e.Protocols) == 0 {
		e.Protocols = []string{"tcp"}
	}
	return e
}

func readPodProtocol(v value) *string { return v.enum("tcp", "udp", "http", "https") }

func readPodMount(v value) *spec.PodMount {
	if !v.object() {
		return nil
	}
	return &spec.PodMount{
		Name: or(v.need("name").strMatch(isPodName), ""), MountPath: or(v.need("mountPath").strLen(1, 1024), ""),
		ReadOnly: or(v.get("readOnly").boolean(), false),
	}
}

// readPodHealthCheck reads the check as one of an app's; argv is the command's when it was given as a vector.
func readPodHealthCheck(v value, container string) (h *spec.HealthCheck, argv []string) {
	if !v.object() {
		return nil, nil
	}
	h = &spec.HealthCheck{
		Container: container, IPProtocol: "IPv4",
		GracePeriod:            or(v.get("gracePeriodSeconds").seconds(), 300*time.Second),
		Interval:               or(v.get("intervalSeconds").seconds(), 60*time.Second),
		Timeout:                or(v.get("timeoutSeconds").seconds(), 20*time.Second),
		Delay:                  or(v.get("delaySeconds").seconds(), 15*time.Second),
		MaxConsecutiveFailures: or(v.get("maxConsecutiveFailures").integerIn(0, math.MaxInt32), 3),
	}
	kinds := 0
	if http := v.get("http"); http.object() {
		kinds++
		h.Protocol, h.Path = mesosHTTP, or(http.get("path").str(), "")
		h.Endpoint = or(http.need("endpoint").strMatch(isPodName), "")
		if or(http.get("scheme").enum(healthHTTP, healthHTTPS), healthHTTP) == healthHTTPS {
			h.Protocol = mesosHTTPS
		}
	}
	if tcp := v.get("tcp"); tcp.object() {
		kinds++
		h.Protocol, h.Endpoint = mesosTCP, or(tcp.need("endpoint").strMatch(isPodName), "")
	}
	if exec := v.get("exec"); exec.object() {
		kinds++
		h.Protocol = healthCommand
		if h.Command, argv = readPodCommand(exec.need("command")); argv != nil {
			h.Command = shellLine(argv)
		}
	}
	if kinds != 1 {
		v.fault("must have exactly one of http, tcp and exec")
	}
	return h, argv
}

// shellLine is a line that makes a shell run the words.
func shellLine(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// podCheckJSON is the canonical form of a container's check.
type podCheckJSON struct {
	HTTP     *podCheckHTTPJSON `json:"http,omitempty"`
	TCP      *podCheckTCPJSON  `json:"tcp,omitempty"`
	Exec     *checkExecJSON    `json:"exec,omitempty"`
	Interval int               `json:"intervalSeconds"`
	Timeout  int               `json:"timeoutSeconds"`
	Delay    int               `json:"delaySeconds"`
}

type podCheckHTTPJSON struct {
	Endpoint string `json:"endpoint"`
	Path     string `json:"path,omitempty"`
	Scheme   string `json:"scheme"`
}

type podCheckTCPJSON struct {
	Endpoint string `json:"endpoint"`
}

func readPodCheck(v value) *spec.Check {
	if !v.object() {
		return nil
	}
	seconds := func(key string, fallback int) int { return or(v.get(key).integerIn(0, math.MaxInt32), fallback) }
	c := podCheckJSON{Interval: seconds("intervalSeconds", 60), Timeout: seconds("timeoutSeconds", 20), Delay: seconds("delaySeconds", 15)}
	kinds := 0
	if http := v.get("http"); http.object() {
		kinds++
		c.HTTP = &podCheckHTTPJSON{
			Endpoint: or(http.need("endpoint").strMatch(isPodName), ""), Path: or(http.get("path").str(), ""),
			Scheme: or(http.get("scheme").enum(healthHTTP, healthHTTPS), healthHTTP),
		}
	}
	if tcp := v.get("tcp"); tcp.object() {
		kinds++
		c.TCP = &podCheckTCPJSON{Endpoint: or(tcp.need("endpoint").strMatch(isPodName), "")}
	}
	if exec := v.get("exec"); exec.object() {
		kinds++
		shell, argv := readPodCommand(exec.need("command"))
		c.Exec = &checkExecJSON{commandJSON{Shell: unlessEmpty(shell), Argv: argv}}
	}
	if kinds != 1 {
		v.fault("must have exactly one of http, tcp and exec")
	}
	raw, _ := json.Marshal(c) // strings and numbers always marshal
	check := spec.Check(raw)
	return &check
}

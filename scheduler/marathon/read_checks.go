package marathon

import (
	"encoding/json"
	"math"
	"time"

	"github.com/berth-project/berth/spec"
)

const (
	healthHTTP    = "HTTP"
	healthHTTPS   = "HTTPS"
	healthTCP     = "TCP"
	healthCommand = "COMMAND"
	mesosHTTP     = "MESOS_HTTP"
	mesosHTTPS    = "MESOS_HTTPS"
	mesosTCP      = "MESOS_TCP"
)

// isMesosKind says whether Mesos, not Marathon, performed such a check; an app may have one of them.
func isMesosKind(protocol string) bool {
	switch protocol {
	case healthCommand, mesosHTTP, mesosHTTPS, mesosTCP:
		return true
	}
	return false
}

func hasPath(protocol string) bool {
	switch protocol {
	case healthHTTP, healthHTTPS, mesosHTTP, mesosHTTPS:
		return true
	}
	return false
}

// readHealthCheck drops the fields that the protocol has no use for; old definitions carry a portIndex on COMMAND checks.
func readHealthCheck(v value) *spec.HealthCheck {
	if !v.object() {
		return nil
	}
	protocol := v.get("protocol").enum(healthHTTP, healthHTTPS, healthTCP, healthCommand, mesosHTTP, mesosHTTPS, mesosTCP)
	h := &spec.HealthCheck{
		Protocol:               or(protocol, healthHTTP),
		GracePeriod:            or(v.get("gracePeriodSeconds").seconds(), 300*time.Second),
		Interval:               or(v.get("intervalSeconds").seconds(), 60*time.Second),
		Timeout:                or(v.get("timeoutSeconds").seconds(), 20*time.Second),
		Delay:                  or(v.get("delaySeconds").seconds(), 15*time.Second),
		MaxConsecutiveFailures: or(v.get("maxConsecutiveFailures").integerIn(0, math.MaxInt32), 3),
		IPProtocol:             or(v.get("ipProtocol").enum("IPv4", "IPv6"), "IPv4"),
	}
	path, port, index := v.get("path").str(), readPort(v.get("port")), v.get("portIndex").integerIn(0, math.MaxInt32)
	ignore := or(v.get("ignoreHttp1xx").boolean(), false)
	switch h.Protocol {
	case healthCommand:
		command := v.need("command")
		if command.object() {
			h.Command = or(command.need("value").strLen(1, 0), "")
		}
		return h
	case healthHTTP, healthHTTPS:
		h.IgnoreHTTP1xx = ignore
	}
	if hasPath(h.Protocol) {
		h.Path = or(path, "")
	}
	h.Port, h.PortIndex = port, index
	return h
}

// checkJSON is the canonical form of an app's check.
type checkJSON struct {
	HTTP     *checkHTTPJSON `json:"http,omitempty"`
	TCP      *checkTCPJSON  `json:"tcp,omitempty"`
	Exec     *checkExecJSON `json:"exec,omitempty"`
	Interval int            `json:"intervalSeconds"`
	Timeout  int            `json:"timeoutSeconds"`
	Delay    int            `json:"delaySeconds"`
}

type checkHTTPJSON struct {
	PortIndex *int   `json:"portIndex,omitempty"`
	Port      *int   `json:"port,omitempty"`
	Path      string `json:"path,omitempty"`
	Scheme    string `json:"scheme"`
}

type checkTCPJSON struct {
	PortIndex *int `json:"portIndex,omitempty"`
	Port      *int `json:"port,omitempty"`
}

type checkExecJSON struct {
	Command commandJSON `json:"command"`
}

type commandJSON struct {
	Shell *string  `json:"shell,omitempty"`
	Argv  []string `json:"argv,omitempty"`
}

func readCheck(v value) *spec.Check {
	if !v.object() {
		return nil
	}
	seconds := func(key string, fallback int) int { return or(v.get(key).integerIn(0, math.MaxInt32), fallback) }
	c := checkJSON{Interval: seconds("intervalSeconds", 60), Timeout: seconds("timeoutSeconds", 20), Delay: seconds("delaySeconds", 15)}
	if http := v.get("http"); http.object() {
		c.HTTP = &checkHTTPJSON{
			PortIndex: http.get("portIndex").integerIn(0, math.MaxInt32),
			Port:      readPort(http.get("port")),
			Path:      or(http.get("path").str(), ""),
			Scheme:    or(http.get("scheme").enum("HTTP", "HTTPS"), "HTTP"),
		}
	}
	if tcp := v.get("tcp"); tcp.object() {
		c.TCP = &checkTCPJSON{PortIndex: tcp.get("portIndex").integerIn(0, math.MaxInt32), Port: readPort(tcp.get("port"))}
	}
	if exec := v.get("exec"); exec.object() {
		command := exec.need("command")
		if command.object() {
			c.Exec = &checkExecJSON{commandJSON{Shell: command.get("shell").strLen(1, 0), Argv: command.get("argv").strs()}}
		}
	}
	raw, _ := json.Marshal(c) // strings and numbers always marshal
	check := spec.Check(raw)
	return &check
}

func readReadinessCheck(v value) *spec.ReadinessCheck {
	if !v.object() {
		return nil
	}
	r := &spec.ReadinessCheck{
		Name:                    or(v.get("name").str(), "readinessCheck"),
		Protocol:                or(v.get("protocol").enum(healthHTTP, healthHTTPS), healthHTTP),
		Path:                    or(v.get("path").str(), "/"),
		PortName:                or(v.get("portName").strMatch(isPortName), "http-api"),
		Interval:                or(v.get("intervalSeconds").seconds(), 30*time.Second),
		Timeout:                 or(v.get("timeoutSeconds").seconds(), 10*time.Second),
		HTTPStatusCodesForReady: unique(list(v.get("httpStatusCodesForReady"), readStatusCode)),
		PreserveLastResponse:    or(v.get("preserveLastResponse").boolean(), false),
	}
	if r.HTTPStatusCodesForReady == nil {
		r.HTTPStatusCodesForReady = []int{200}
	}
	return r
}

func readStatusCode(v value) *int { return v.integerIn(100, 999) }

package marathon

import (
	"strings"

	"github.com/berth-project/berth/spec"
)

// appPort is what portDefinitions and portMappings have in common.
type appPort struct {
	number   int // the number that must be unique: the port itself, or the host port of a mapping; 0: none
	protocol string
	name     string
}

// portsOf are the app's ports in order, with the path of their list.
func portsOf(app *spec.App) (ports []appPort, path string) {
	if isHostMode(app) {
		for _, p := range app.PortDefinitions {
			ports = append(ports, appPort{p.Port, p.Protocol, p.Name})
		}
		return ports, "/portDefinitions"
	}
	if app.Container != nil {
		for _, m := range app.Container.PortMappings {
			ports = append(ports, appPort{or(m.HostPort, 0), m.Protocol, m.Name})
		}
	}
	return ports, "/container/portMappings"
}

func validatePorts(app *spec.App, f *Faults) {
	ports, path := portsOf(app)
	type numbered struct {
		protocol string
		number   int
	}
	names, numbers := map[string]bool{}, map[numbered]bool{}
	doubleName, doubleNumber := false, false
	for _, p := range ports {
		doubleName = doubleName || p.name != "" && names[p.name]
		names[p.name] = true
		if p.number == 0 {
			continue
		}
		for _, protocol := range strings.Split(p.protocol, ",") {
			doubleNumber = doubleNumber || numbers[numbered{protocol, p.number}]
			numbers[numbered{protocol, p.number}] = true
		}
	}
	if doubleName {
		f.Add(path, "Port names must be unique.")
	}
	if doubleNumber {
		f.Add(path, "Ports must be unique.")
	}
}

func validateHealthChecks(app *spec.App, f *Faults) {
	ports, _ := portsOf(app)
	ofMesos := 0
	for i, h := range app.HealthChecks {
		path := at("/healthChecks", i)
		if isMesosKind(h.Protocol) {
			ofMesos++
		}
		if h.Protocol == healthCommand {
			continue
		}
		if h.Port == nil && or(h.PortIndex, 0) >= len(ports) {
			f.Add(path, "Health check port indices must address an element of the ports array or container port mappings.")
		}
		docker := app.Container != nil && app.Container.Type == spec.ContainerDocker
		if h.IPProtocol == "IPv6" && !(docker && isMesosKind(h.Protocol)) {
			f.Add(path+"/ipProtocol", "IPv6 can only be used with container type DOCKER and Mesos health checks")
		}
	}
	if ofMesos > 1 {
		f.Add("/", "AppDefinition can contain at most one Mesos health check")
	}
}

func validateCheck(app *spec.App, f *Faults) {
	if app.Check == nil {
		return
	}
	n, err := parse(*app.Check)
	if err != nil {
		return // readCheck wrote it
	}
	kinds := 0
	check := value{n: n, path: "/check", f: f}
	ports, _ := portsOf(app)
	for _, kind := range []string{"http", "tcp"} {
		if k := check.get(kind); k.ok() {
			kinds++
			if !k.get("port").ok() && or(k.get("portIndex").integer(), 0) >= len(ports) {
				f.Add("/check/"+kind, "Health check port indices must address an element of the ports array or container port mappings.")
			}
		}
	}
	if exec := check.get("exec"); exec.ok() {
		kinds++
		if command := exec.get("command"); command.get("shell").ok() == command.get("argv").ok() {
			f.Add("/check/exec/command", "must have either shell or argv")
		}
	}
	if kinds != 1 {
		f.Add("/check", "must have exactly one of http, tcp and exec")
	}
	if app.Container != nil && app.Container.Type == spec.ContainerDocker {
		f.Add("/check", "must be empty with container type DOCKER; use healthChecks")
	}
}

func validateReadiness(app *spec.App, f *Faults) {
	if len(app.ReadinessChecks) > 1 {
		f.Add("/readinessChecks", "must have at most 1 element")
	}
	ports, _ := portsOf(app)
	for i, r := range app.ReadinessChecks {
		path := at("/readinessChecks", i)
		named := false
		for _, p := range ports {
			named = named || p.name == r.PortName
		}
		if !named {
			f.Add(path+"/portName", "No port definition reference for portName %s", r.PortName)
		}
		if r.Timeout >= r.Interval {
			f.Add(path+"/timeoutSeconds", "Timeout (%d seconds) must be less than the interval (%d seconds)",
				int(r.Timeout.Seconds()), int(r.Interval.Seconds()))
		}
		if len(r.HTTPStatusCodesForReady) == 0 {
			f.Add(path+"/httpStatusCodesForReady", "must not be empty")
		}
	}
}

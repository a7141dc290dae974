package marathon

import (
	"encoding/json"
	"math"

	"github.com/berth-project/berth/spec"
)

func readContainer(v value) *draftContainer {
	if !v.object() {
		return nil
	}
	kind := v.get("type").enum(string(spec.ContainerDocker), string(spec.ContainerMesos))
	c := &draftContainer{
		kind:         spec.ContainerType(or(kind, string(spec.ContainerDocker))),
		docker:       readDocker(v.get("docker")),
		volumes:      list(v.get("volumes"), readVolume),
		portMappings: list(v.get("portMappings"), readPortMapping),
	}
	c.linuxInfo = readLinuxInfo(v.get("linuxInfo"))
	return c
}

// readLinuxInfo looks at the types only: the object is kept as it came.
func readLinuxInfo(info value) json.RawMessage {
	if !info.object() {
		return nil
	}
	if seccomp := info.get("seccomp"); seccomp.object() {
		seccomp.get("profileName").str()
		seccomp.get("unconfined").boolean()
	}
	if ipc := info.get("ipcInfo"); ipc.object() {
		ipc.need("mode").enum("PRIVATE", "SHARE_PARENT")
		ipc.get("shmSize").integerIn(0, math.MaxInt32)
	}
	return info.n.raw()
}

func readDocker(v value) *draftDocker {
	if !v.object() {
		return nil
	}
	d := &draftDocker{
		Docker: spec.Docker{
			Image:          or(v.need("image").strLen(1, 0), ""),
			ForcePullImage: or(v.get("forcePullImage").boolean(), false),
			Privileged:     or(v.get("privileged").boolean(), false),
			Parameters:     list(v.get("parameters"), readParameter),
		},
		network:      v.get("network").enum("HOST", "BRIDGE", "USER", "NONE"),
		portMappings: list(v.get("portMappings"), readPortMapping),
		credential:   v.get("credential").ok(),
	}
	if pull := v.get("pullConfig"); pull.object() {
		d.PullConfig = or(pull.need("secret").strLen(1, 0), "")
	}
	return d
}

func readParameter(v value) *spec.Parameter {
	if !v.object() {
		return nil
	}
	return &spec.Parameter{Key: or(v.need("key").strLen(1, 0), ""), Value: or(v.need("value").str(), "")}
}

// readVolume tells the kinds apart by the key that is present; a volume with none of them is a host volume.
func readVolume(v value) *spec.Volume {
	if !v.object() {
		return nil
	}
	vol := &spec.Volume{ContainerPath: or(v.need("containerPath").strLen(1, 0), "")}
	if secret := v.get("secret"); secret.ok() {
		vol.Secret = or(secret.strLen(1, 0), "")
		return vol
	}
	vol.Mode = or(v.need("mode").enum("RO", "RW"), "")
	switch persistent, external := v.get("persistent"), v.get("external"); {
	case persistent.ok():
		vol.Persistent = readPersistent(persistent)
	case external.ok():
		if external.object() {
			vol.External = external.n.raw()
		}
	default:
		vol.HostPath = or(v.need("hostPath").strLen(1, 0), "")
	}
	return vol
}

// persistentJSON is the canonical form of a persistent volume's object.
type persistentJSON struct {
	Type        string     `json:"type"`
	Size        int64      `json:"size"`
	MaxSize     *int64     `json:"maxSize,omitempty"`
	ProfileName string     `json:"profileName,omitempty"`
	Constraints [][]string `json:"constraints"`
}

func readPersistent(v value) json.RawMessage {
	if !v.object() {
		return nil
	}
	p := persistentJSON{
		Type:        or(v.get("type").enum("root", "path", "mount"), "root"),
		Size:        or(readSize(v.need("size")), 0),
		MaxSize:     readSize(v.get("maxSize")),
		ProfileName: or(v.get("profileName").str(), ""),
		Constraints: [][]string{},
	}
	for _, c := range v.get("constraints").items() {
		p.Constraints = append(p.Constraints, c.strs())
	}
	raw, _ := json.Marshal(p) // strings and numbers always marshal
	return raw
}

// readSize is a number of MiB, which may exceed 32 bits.
func readSize(v value) *int64 {
	x := v.numberIn(0, 1<<53)
	if x == nil {
		return nil
	}
	if *x != math.Trunc(*x) {
		v.fault("error.expected.int")
		return nil
	}
	size := int64(min(*x, 1<<53))
	return &size
}

func readPortMapping(v value) *spec.PortMapping {
	if !v.object() {
		return nil
	}
	return &spec.PortMapping{
		ContainerPort: or(readPort(v.get("containerPort")), 0),
		HostPort:      readPort(v.get("hostPort")),
		ServicePort:   or(readPort(v.get("servicePort")), 0),
		Protocol:      readProtocol(v.get("protocol")),
		Name:          or(v.get("name").strMatch(isPortName), ""),
		Labels:        v.get("labels").strMap(),
		NetworkNames:  unique(v.get("networkNames").strs()),
	}
}

func readPortDefinition(v value) *spec.PortDefinition {
	if !v.object() {
		return nil
	}
	return &spec.PortDefinition{
		Port:     or(readPort(v.get("port")), 0),
		Protocol: readProtocol(v.get("protocol")),
		Name:     or(v.get("name").strMatch(isPortName), ""),
		Labels:   v.get("labels").strMap(),
	}
}

func readProtocol(v value) string { return or(v.enum("tcp", "udp", "udp,tcp"), "tcp") }

func readNetwork(v value) *draftNetwork {
	if !v.object() {
		return nil
	}
	mode := v.get("mode").enum(string(spec.NetworkHost), string(spec.NetworkContainer), string(spec.NetworkBridge))
	return &draftNetwork{
		mode:   spec.NetworkMode(or(mode, string(spec.NetworkContainer))),
		name:   readNetworkName(v.get("name")),
		labels: v.get("labels").strMap(),
	}
}

func readNetworkName(v value) *string {
	v.strLen(1, 63)
	return v.strMatch(isNetworkName)
}

// readIPAddress reads the form of Marathon 0.11 to 1.4. Its "groups" never had an effect that is left today.
func readIPAddress(v value) *draftIPAddress {
	if !v.object() {
		return nil
	}
	ip := &draftIPAddress{
		networkName: readNetworkName(v.get("networkName")),
		labels:      v.get("labels").strMap(),
	}
	discovery := v.get("discovery")
	if discovery.object() {
		ip.discovery = list(discovery.get("ports"), readDiscoveryPort)
	}
	return ip
}

func readDiscoveryPort(v value) *spec.PortMapping {
	if !v.object() {
		return nil
	}
	return &spec.PortMapping{
		ContainerPort: or(readPort(v.need("number")), 0),
		Protocol:      readProtocol(v.get("protocol")),
		Name:          or(v.need("name").strMatch(isPortName), ""),
		Labels:        v.get("labels").strMap(),
	}
}

package marathon

import "github.com/berth-project/berth/spec"

// normalise turns the legacy fields into today's. It works on definitions and on updates alike, so it uses only what was
// sent; what depends on the rest of the app is left to complete. Contradictions between old and new forms go to f, and
// then the draft is left as it was. In an update health checks always name their port.
func (d *draft) normalise(o Options, update bool, f *Faults) {
	found := len(f.Details)
	d.checkLegacy(f)
	if len(f.Details) > found {
		return
	}
	for _, uri := range d.uris {
		d.fetch = append(d.fetch, spec.Fetch{URI: uri, Extract: isArchive(uri)})
	}
	if d.uris != nil && d.fetch == nil {
		d.fetch = []spec.Fetch{}
	}
	explicit := update || len(d.ports) > 0
	if d.legacyPorts != nil {
		d.ports = make([]spec.PortDefinition, len(d.legacyPorts))
		for i, port := range d.legacyPorts {
			d.ports[i] = spec.PortDefinition{Port: port, Protocol: "tcp"}
		}
	}
	if c := d.container; c != nil && c.docker != nil && c.docker.portMappings != nil {
		c.portMappings, c.docker.portMappings = c.docker.portMappings, nil
	}
	if explicit || d.container != nil && len(d.container.portMappings) > 0 {
		d.writePortIndexes()
	}
	d.normaliseNetworks(o)
	d.uris, d.legacyPorts, d.ipAddress = nil, nil, nil
}

// checkLegacy finds old and new forms that contradict each other.
func (d *draft) checkLegacy(f *Faults) {
	if len(d.uris) > 0 && len(d.fetch) > 0 {
		f.Add("/", "cannot specify both uris and fetch fields")
	}
	if d.legacyPorts != nil && d.ports != nil {
		f.Add("/", "cannot specify both ports and port definitions")
	}
	if d.networks != nil && d.ipAddress != nil {
		f.Add("/networks", "must not specify both networks and ipAddress")
	}
	// Beside docker.network, ports were the service ports of the mappings.
	if network := d.checkLegacyDocker(f); network == "" && d.ipAddress != nil && len(d.legacyPorts) > 0 {
		f.Add("/ports", "must be empty when ipAddress is given: the app's own address needs no host ports")
	}
}

// checkLegacyDocker checks the container's part and returns docker.network.
func (d *draft) checkLegacyDocker(f *Faults) (network string) {
	if d.container == nil || d.container.docker == nil {
		return ""
	}
	c, docker := d.container, d.container.docker
	if docker.credential {
		f.Add("/container/docker/credential", "must be empty")
	}
	if docker.portMappings != nil {
		if c.kind == spec.ContainerMesos {
			f.Add("/container/docker/portMappings", "must be empty")
		} else if c.portMappings != nil {
			f.Add("/container/portMappings", "must not specify both container.docker.portMappings and container.portMappings")
		}
	}
	if docker.network == nil {
		return ""
	}
	switch {
	case c.kind == spec.ContainerMesos:
		f.Add("/container/docker/network", "must be empty")
	case d.networks != nil:
		f.Add("/networks", "must not specify both container.docker.network and networks")
	case *docker.network == "NONE":
		f.Add("/container/docker/network", "NONE is not supported: every app has a network; use networks with mode container")
	}
	return *docker.network
}

// normaliseNetworks makes networks of ipAddress and docker.network.
func (d *draft) normaliseNetworks(o Options) {
	legacy := ""
	if d.container != nil && d.container.docker != nil && d.container.docker.network != nil {
		legacy = *d.container.docker.network
		d.container.docker.network = nil
	}
	ip := d.ipAddress
	if ip != nil {
		d.addContainer = true
		d.discovery = ip.discovery
	} else if legacy != "" {
		ip = &draftIPAddress{}
	} else {
		return
	}
	network := draftNetwork{mode: spec.NetworkContainer, name: ip.networkName, labels: ip.labels}
	switch {
	case legacy == "HOST":
		network = draftNetwork{mode: spec.NetworkHost}
	case legacy == "BRIDGE", legacy == "" && ip.networkName != nil && *ip.networkName == o.BridgeName:
		network = draftNetwork{mode: spec.NetworkBridge, labels: ip.labels}
	}
	d.networks = []draftNetwork{network}
}

// writePortIndexes names the port of checks that name none: the first.
func (d *draft) writePortIndexes() {
	for i := range d.healthChecks {
		h := &d.healthChecks[i]
		if h.Protocol != healthCommand && h.Port == nil && h.PortIndex == nil {
			h.PortIndex = new(int)
		}
	}
}

package marathon

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

func validateContainer(app *spec.App, o Options, f *Faults) {
	c := app.Container
	if c == nil {
		return
	}
	if c.Type == spec.ContainerDocker && c.Docker == nil {
		f.Add("/container/docker", "not defined")
	}
	if c.Docker != nil {
		validateDocker(app, o, f)
	}
	if c.LinuxInfo != nil {
		if c.Type != spec.ContainerMesos {
			f.Add("/container/linuxInfo", "must be empty")
		} else {
			validateLinuxInfo(c.LinuxInfo, "/container/linuxInfo", f)
		}
	}
	external := map[string]bool{}
	for i, v := range c.Volumes {
		path := at("/container/volumes", i)
		switch {
		case v.Persistent != nil:
			validatePersistent(v, path, f)
		case v.External != nil:
			o.requireFeature(FeatureExternalVolumes, path+"/external", f)
			validateExternal(app, v, external, path, f)
		case v.Secret != "":
			o.requireFeature(FeatureSecrets, path+"/secret", f)
			validateSecretRef(app, v.Secret, path+"/secret", f)
		}
	}
}

func validateDocker(app *spec.App, o Options, f *Faults) {
	c := app.Container
	if c.Docker.PullConfig != "" {
		if c.Type == spec.ContainerDocker {
			f.Add("/container/docker/pullConfig", "must be empty")
		}
		o.validatePullConfig(app, c.Docker.PullConfig, "/container/docker/pullConfig", f)
	}
	if c.Type == spec.ContainerMesos {
		if c.Docker.Privileged {
			f.Add("/container/docker/privileged", "must be empty")
		}
		if c.Docker.Parameters != nil {
			f.Add("/container/docker/parameters", "must be empty")
		}
	}
}

// validateLinuxInfo reads the parts of linuxInfo that contradict each other.
func validateLinuxInfo(linuxInfo []byte, path string, f *Faults) {
	n, err := parse(linuxInfo)
	if err != nil {
		return // it was parsed before
	}
	info := value{n: n, path: path, f: f}
	if seccomp := info.get("seccomp"); seccomp.object() {
		profile := seccomp.get("profileName").str()
		unconfined := or(seccomp.get("unconfined").boolean(), false)
		if unconfined == (profile != nil) {
			f.Add(path+"/seccomp", "must have either profileName or unconfined true")
		}
	}
	if ipc := info.get("ipcInfo"); ipc.object() {
		mode := ipc.get("mode").enum("PRIVATE", "SHARE_PARENT")
		if size := ipc.get("shmSize"); size.ok() && (mode == nil || *mode != "PRIVATE") {
			f.Add(path+"/ipcInfo/shmSize", "needs mode PRIVATE")
		}
	}
}

func validatePersistent(v spec.Volume, path string, f *Faults) {
	var p persistentJSON
	if json.Unmarshal(v.Persistent, &p) != nil {
		return // readPersistent wrote it
	}
	if v.Mode != "RW" {
		f.Add(path+"/mode", "got %s, expected RW", v.Mode)
	}
	if strings.Contains(v.ContainerPath, "/") || v.ContainerPath == "." || v.ContainerPath == ".." {
		f.Add(path+"/containerPath", "must be a name without '/', relative to the sandbox")
	}
	if p.Size <= 0 && p.Type != "mount" {
		f.Add(path+"/persistent/size", "got %d, expected more than 0", p.Size)
	}
	if p.MaxSize != nil && (p.Type != "mount" || *p.MaxSize < p.Size) {
		f.Add(path+"/persistent/maxSize", "only with type mount, and not less than size")
	}
	if p.ProfileName != "" && p.Type != "mount" {
		f.Add(path+"/persistent/profileName", "only with type mount")
	}
	for i, c := range p.Constraints {
		if p.Type == "root" || len(c) != 3 || c[0] != "path" || c[1] != "LIKE" || !compiles(c[2]) {
			f.Add(at(path+"/persistent/constraints", i), "only [\"path\",\"LIKE\",REGEX], and not with type root")
		}
	}
}

// validateExternal checks volumes of the dvdi provider. names are those seen before in this app.
func validateExternal(app *spec.App, v spec.Volume, names map[string]bool, path string, f *Faults) {
	n, err := parse(v.External)
	if err != nil {
		return // it was parsed before
	}
	ext := value{n: n, path: path + "/external", f: f}
	name := or(ext.get("name").str(), "")
	if name != "" && names[name] {
		f.Add(path+"/external/name", "Volume names must be unique.")
	}
	names[name] = true
	if or(ext.get("provider").str(), "") == "dvdi" && or(ext.get("options").get("dvdi/driver").str(), "") == "" {
		f.Add(path+"/external/options", "must have dvdi/driver")
	}
	if ext.get("size").ok() && app.Container.Type == spec.ContainerDocker {
		f.Add(path+"/external/size", "must be undefined for Docker containers")
	}
	if app.Instances > 1 && !or(ext.get("shared").boolean(), false) {
		f.Add("/instances", "got %d, expected at most 1 with an external volume that is not shared", app.Instances)
	}
}

// validateNetworks: one host, or one bridge, or one or more distinct container networks.
func validateNetworks(app *spec.App, f *Faults) {
	count := map[spec.NetworkMode]int{}
	names := map[string]bool{}
	for i, n := range app.Networks {
		count[n.Mode]++
		path := at("/networks", i)
		if n.Mode != spec.NetworkContainer && n.Name != "" {
			f.Add(path+"/name", "must be empty with mode %s", n.Mode)
		}
		if n.Mode == spec.NetworkHost && n.Labels != nil {
			f.Add(path+"/labels", "must be empty with mode host")
		}
		if n.Mode == spec.NetworkContainer && n.Name != "" {
			if names[n.Name] {
				f.Add("/networks", "network names must be unique: %s", n.Name)
			}
			names[n.Name] = true
		}
	}
	exclusive := count[spec.NetworkHost] + count[spec.NetworkBridge]
	if exclusive > 1 || exclusive == 1 && count[spec.NetworkContainer] > 0 {
		f.Add("/networks", "must be either one host network, or one container/bridge network, or container networks with distinct names")
	}
	if app.Container != nil && app.Container.Type == spec.ContainerDocker && count[spec.NetworkContainer] > 1 {
		f.Add("/networks", "may only specify a single container network with the DOCKER container type")
	}
	validateNetworkNames(app, names, f)
}

// validateNetworkNames checks which networks the mappings are for.
func validateNetworkNames(app *spec.App, names map[string]bool, f *Faults) {
	if app.Container == nil {
		return
	}
	for i, m := range app.Container.PortMappings {
		path := at("/container/portMappings", i)
		for j, name := range m.NetworkNames {
			if !names[name] {
				f.Add(at(path+"/networkNames", j), "no network with name %s", strconv.Quote(name))
			}
		}
		if len(names) > 1 && m.HostPort != nil && len(m.NetworkNames) != 1 {
			f.Add(path, "must name exactly one of several container networks in networkNames when hostPort is given")
		}
	}
}

package arch

import (
	"path"
	"slices"
	"strings"
)

const module = "github.com/berth-project/berth"

// components are the roots that meet only through documents, HTTP, Docker and Consul.
var components = []string{"scheduler", "agent", "registrator", "monitor", "cpuquota", "standalone", "images", "console", "svc"}

// deciding lists the (P) packages: values in, values out. One that does not exist yet is bound as soon as it does.
var deciding = []string{
	"scheduler/marathon", "scheduler/plan", "scheduler/deploy", "scheduler/place", "scheduler/address", "scheduler/lifecycle",
	"scheduler/health", "scheduler/hostdoc", "scheduler/launch", "scheduler/calico", "scheduler/ipcheck", "scheduler/prepull",
	"agent/hostnet", "images/drift", "images/recipe", "registrator/services", "cpuquota/policy", "monitor/figures", "monitor/series", "unit",
}

// decidingExtras are the third-party packages that a deciding package may use: decoders of a foreign format, pure themselves.
var decidingExtras = map[string][]string{
	"scheduler/calico": {"github.com/projectcalico/api", "k8s.io/apimachinery/pkg/apis/meta", "sigs.k8s.io/yaml", "sigs.k8s.io/json"},
	"images/recipe":    {"go.yaml.in/yaml/v3"},
}

// decidingBanned are the standard library packages that read a clock, do I/O or share state between goroutines. A name
// covers what lies below it.
var decidingBanned = map[string]string{
	"os":          "I/O",
	"net/http":    "I/O",
	"log":         "logging",
	"io/ioutil":   "I/O",
	"syscall":     "I/O",
	"sync":        "shared state between goroutines",
	"crypto/rand": "a random source that is not a parameter",
}

// clockFuncs are what of package time must not be touched where `now` is a parameter.
var clockFuncs = []string{"Now", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Since", "Until"}

// randConstructors are what of math/rand may be used: a source that the caller seeds. All else is the global one.
var randConstructors = []string{"New", "NewSource", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "Source", "Source64", "PCG", "ChaCha8", "Zipf"}

// door is a foreign system and the only packages that may know it.
type door struct {
	system  string
	imports []string // import path prefixes
	allowed []string // packages, with everything below them
}

var doors = []door{
	{"Mesos's protobufs", []string{"github.com/mesos/mesos-go"}, []string{"scheduler/mesos", "standalone"}},
	{"Docker's types", []string{"github.com/docker/docker", "github.com/docker/go-connections", "github.com/moby/moby"}, []string{"internal/docker"}},
	{"Docker's plugin protocol", []string{"github.com/docker/go-plugins-helpers"}, []string{"agent/netplugin"}},
	{"netlink", []string{"github.com/vishvananda/netlink", "github.com/vishvananda/netns"}, []string{"agent/router"}},
	{"the packet filter", []string{"github.com/google/nftables", "github.com/coreos/go-iptables"}, []string{"agent/router"}},
	{"BGP", []string{"github.com/osrg/gobgp"}, []string{"agent/bgp"}},
	{"Consul", []string{"github.com/hashicorp/consul/api"}, []string{"registrator", "scheduler/store"}},
	{"cgroupfs", []string{"github.com/containerd/cgroups"}, []string{"internal/cgroup"}},
	{"Calico's types", []string{"github.com/projectcalico/api"}, []string{"scheduler/calico"}},
	{"the store's file", []string{"go.etcd.io/bbolt"}, []string{"scheduler/store"}},
	{"Prometheus", []string{"github.com/prometheus"}, []string{"monitor/openmetrics"}},
	{"ZooKeeper", []string{"github.com/go-zookeeper/zk"}, []string{"scheduler/mesos"}},
}

// vagueNames say nothing about what a package is for, so anything ends up in it.
var vagueNames = []string{"util", "utils", "common", "helper", "helpers", "types", "models", "base", "misc"}

// pureCalls are the functions whose result a package variable may hold: it cannot change, or nobody changes it.
var pureCalls = []string{
	"errors.New", "fmt.Errorf", "fmt.Sprintf", "regexp.MustCompile", "strings.NewReplacer", "strings.Repeat",
	"netip.MustParseAddr", "netip.MustParsePrefix", "netip.AddrFrom4", "netip.PrefixFrom",
	"template.Must", "reflect.TypeFor", "reflect.TypeOf", "time.Date", "time.Unix", "math.Inf", "slices.Concat", "slices.Sorted", "maps.Keys",
}

// wellKnown are methods whose meaning is fixed by an interface of the standard library, so that a comment adds nothing.
var wellKnown = []string{
	"String", "Error", "Unwrap", "Is", "As", "Len", "Less", "Swap", "Push", "Pop", "ServeHTTP", "Close", "Read", "Write", "Format",
	"MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText",
}

// under says whether name is one of the roots or lies below one.
func under(name string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return name == root || strings.HasPrefix(name, root+"/")
	})
}

// rootOf is the first element of a package's path inside the module.
func rootOf(pkg string) string {
	root, _, _ := strings.Cut(pkg, "/")
	return root
}

// own gives an import's path inside the module.
func own(imported string) (string, bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// standard says whether an import is of the standard library: those have no dot in their first element.
func standard(imported string) bool { return !strings.Contains(rootOf(imported), ".") }

// edge says why package from must not import package to (both inside the module), or "".
func edge(from, to string) string {
	switch f, t := rootOf(from), rootOf(to); {
	case t == "cmd" || t == "integration":
		if under(from, "cmd", "integration") && f == t {
			return ""
		}
		return "nothing imports " + t + ": it is where everything is put together"
	case f == "cmd" || f == "integration" || t == "spec":
		return ""
	case f == "spec":
		return "spec is the vocabulary that everyone imports, so it imports nothing of Berth"
	case t == "internal":
		return ""
	case f == "internal":
		return "internal packages serve the components and must not know them: the way is cmd -> components -> spec and internal"
	case f != t && slices.Contains(components, f) && slices.Contains(components, t):
		return f + " and " + t + " never import each other: they meet through the host document, HTTP, Docker and Consul"
	case f == t && to == f && from != to:
		return "a subpackage never imports its component's root: the root composes its subpackages"
	}
	return ""
}

// impure says why a deciding package must not make this import, or "".
func impure(from, imported string) string {
	if to, ok := own(imported); ok {
		if under(to, "spec") || under(to, deciding...) && rootOf(to) == rootOf(from) {
			return ""
		}
		return "a deciding package imports only spec and deciding packages of its own component"
	}
	if !standard(imported) {
		if under(imported, decidingExtras[from]...) {
			return ""
		}
		return "a deciding package imports no third-party code"
	}
	for banned, why := range decidingBanned {
		if under(imported, banned) {
			return "a deciding package takes values and returns values, without " + why
		}
	}
	return ""
}

// locked says why the import must go through another package's door, or "".
func locked(from, imported string) string {
	for _, d := range doors {
		if under(imported, d.imports...) && !under(from, d.allowed...) {
			return "one door per foreign system: " + d.system + " only in " + strings.Join(d.allowed, " and ")
		}
	}
	return ""
}

// vague says why a package must not have this name, or "".
func vague(name, dir string) string {
	if slices.Contains(vagueNames, name) || slices.Contains(vagueNames, path.Base(dir)) {
		return "a package is named after what it is for, and \"" + name + "\" takes in anything"
	}
	return ""
}

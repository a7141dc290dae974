// Package calico turns Calico v3 resources, in YAML as calicoctl reads and writes it, into Berth's nouns. It takes bytes and
// gives back either all of them or all faults at once, each with the number of its document and its path; it reads no file
// and keeps no state. Calico's types stop here.
package calico

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	v3 "github.com/projectcalico/api/pkg/apis/projectcalico/v3"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/berth-project/berth/spec"
)

// head is what every resource has, and the items of a list.
type head struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Items      []json.RawMessage `json:"items"`
}

// found is one decoded pool with the place it came from.
type found struct {
	at   place
	pool spec.Pool
	twin place // of the IPPool that gave CIDR6
	// private: the operators do not want it announced.
	private bool
}

// decoder gathers what it finds, and faults, over all documents.
type decoder struct {
	poolsOnly bool
	pools     []found
	twins     []twin
	bgp       bgpFound
	policies  policyFound
	faults    Faults
}

// Resources is everything that a stream of documents said.
type Resources struct {
	Pools []spec.Pool
	BGP   *spec.BGP      // nil: it said nothing of BGP
	Hosts []spec.BGPHost // those of BGP, also without it: pools are for hosts by their labels
	// Policies are nil when there is none.
	Policies *spec.NetworkPolicies
}

// Decode reads the IPPools, the resources of BGP (BGPConfiguration, BGPPeer, Node) and those of network policy (NetworkPolicy,
// GlobalNetworkPolicy, NetworkSet, GlobalNetworkSet) of a stream of YAML (or JSON) documents: single resources, and lists such as
// `calicoctl get bgppeers -o yaml` prints. The error is a Faults.
func Decode(stream []byte) (Resources, error) {
	var d decoder
	pools, err := d.stream(stream)
	if err != nil {
		return Resources{}, err
	}
	return Resources{pools, d.bgp.fleet(), d.bgp.hosts, d.policies.all()}, nil
}

// DecodePools reads the IPPools of a stream of YAML (or JSON) documents, in the order they stand there: single resources, and lists
// such as `calicoctl get ippools -o yaml` prints. The error is a Faults.
func DecodePools(stream []byte) ([]spec.Pool, error) {
	d := decoder{poolsOnly: true}
	pools, err := d.stream(stream)
	if err == nil && len(pools) == 0 {
		return nil, Faults{{Text: "there is no IPPool in it"}}
	}
	return pools, err
}

// stream decodes all documents and gives back the pools, in the order they stand there.
func (d *decoder) stream(stream []byte) ([]spec.Pool, error) {
	for i, doc := range documents(string(stream)) {
		d.document(place{Document: i + 1}, []byte(doc))
	}
	d.crossCheck()
	if len(d.faults) > 0 {
		return nil, d.faults
	}
	pools := make([]spec.Pool, len(d.pools))
	for i, f := range d.pools {
		pools[i] = f.pool
	}
	return pools, nil
}

// marker begins a line that starts a document; YAML allows it nowhere else, not even inside a block of text.
var marker = regexp.MustCompile(`(?m)^---(?:[ \t]+|\r?$)`)

// documents cuts a stream at its markers. What stands before the first marker is a document only when it holds more than
// comments and directives, so that numbers are those a person would count.
func documents(stream string) []string {
	parts := marker.Split(strings.TrimPrefix(stream, "\ufeff"), -1)
	if len(parts) > 1 && blank(parts[0]) {
		parts = parts[1:]
	}
	return parts
}

func blank(text string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && line != "..." && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}

// document decodes one YAML document: nothing, a resource, or a list of resources.
func (d *decoder) document(at place, text []byte) {
	if blank(string(text)) {
		return
	}
	raw, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		d.faults.add(at, "", "not YAML: %s", yamlText(err))
		return
	}
	d.resource(at, raw)
}

func (d *decoder) resource(at place, raw []byte) {
	var h head
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &h); err != nil {
		d.faults.typeError(at, err)
		return
	}
	if h.Kind == "" {
		d.faults.add(at, "kind", "is missing: want %s", d.kinds())
		return
	}
	switch {
	case h.Kind == v3.KindIPPoolList, h.Kind == "List", !d.poolsOnly && (slices.Contains(bgpLists, h.Kind) || slices.Contains(policyLists, h.Kind)): // kubectl writes "List"
		for i, item := range h.Items {
			d.resource(at.item(i), item)
		}
	case h.Kind == v3.KindIPPool:
		d.pool(at, h, raw)
	case !d.poolsOnly && h.Kind == v3.KindBGPPeer:
		d.peer(at, h, raw)
	case !d.poolsOnly && h.Kind == v3.KindBGPConfiguration:
		d.configuration(at, h, raw)
	case !d.poolsOnly && h.Kind == kindNode:
		d.node(at, h, raw)
	case !d.poolsOnly && h.Kind == v3.KindNetworkPolicy:
		d.networkPolicy(at, h, raw)
	case !d.poolsOnly && h.Kind == v3.KindGlobalNetworkPolicy:
		d.globalPolicy(at, h, raw)
	case !d.poolsOnly && (h.Kind == v3.KindNetworkSet || h.Kind == v3.KindGlobalNetworkSet):
		d.networkSet(at, h, raw)
	default:
		d.faults.add(at, "kind", "%s is not supported: want %s", h.Kind, d.kinds())
	}
}

// kinds are those that are read here, for people.
func (d *decoder) kinds() string {
	if d.poolsOnly {
		return v3.KindIPPool
	}
	return strings.Join([]string{v3.KindIPPool, v3.KindBGPConfiguration, v3.KindBGPPeer, kindNode,
		v3.KindNetworkPolicy, v3.KindGlobalNetworkPolicy, v3.KindNetworkSet, v3.KindGlobalNetworkSet}, ", ")
}

// strict decodes a resource of Calico's into v. False: it has faults of its form already; unknown fields are faults, too, but the
// rest is worth checking.
func (d *decoder) strict(at place, h head, raw []byte, v any) bool {
	if h.APIVersion != v3.GroupVersionCurrent {
		d.faults.add(at, "apiVersion", "%q is not supported: want %s", h.APIVersion, v3.GroupVersionCurrent)
	}
	strict, err := kjson.UnmarshalStrict(raw, v)
	if err != nil {
		d.faults.typeError(at, err)
		return false
	}
	for _, e := range strict {
		d.faults.add(at, "", "%s", e)
	}
	return true
}

// yamlText drops the layers that only name the library.
func yamlText(err error) string {
	text := err.Error()
	for _, prefix := range []string{"error converting YAML to JSON: ", "yaml: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return strings.Join(strings.Fields(text), " ")
}

// typeError records a JSON value of the wrong type under its path.
func (f *Faults) typeError(at place, err error) {
	var wrong *json.UnmarshalTypeError
	path, text := "", strings.TrimPrefix(err.Error(), "json: ")
	if errors.As(err, &wrong) {
		path, text = wrong.Field, fmt.Sprintf("want %s, got %s", article(wrong.Type.Kind().String()), article(wrong.Value))
	}
	f.add(at, path, "%s", text)
}

// article gives people's names for JSON's and Go's kinds of values.
func article(kind string) string {
	switch kind {
	case "bool":
		return "true or false"
	case "string", "number":
		return "a " + kind
	case "struct", "map", "object":
		return "an object"
	case "slice", "array":
		return "a list"
	case "float64":
		return "a number"
	case "int":
		return "a whole number"
	}
	return kind
}

package api

import (
	"maps"
	"slices"

	"github.com/berth-project/berth/spec"
)

// unusedOfferJSON is Marathon's form of an offer that an app could not use. Reason holds Marathon's word first; Berth's
// sentence with the numbers follows it.
type unusedOfferJSON struct {
	Offer     offerJSON `json:"offer"`
	Reason    []string  `json:"reason"`
	Timestamp string    `json:"timestamp"`
}

type offerJSON struct {
	ID         string              `json:"id"`
	AgentID    string              `json:"agentId"`
	Hostname   string              `json:"hostname"`
	Resources  []offerResourceJSON `json:"resources"`
	Attributes []attributeJSON     `json:"attributes"`
}

type offerResourceJSON struct {
	Name   string      `json:"name"`
	Role   string      `json:"role"`
	Scalar *float64    `json:"scalar,omitempty"`
	Ranges []rangeJSON `json:"ranges,omitempty"`
}

type rangeJSON struct {
	Begin int `json:"begin"`
	End   int `json:"end"`
}

type attributeJSON struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func encodeUnusedOffers(list []UnusedOffer) []unusedOfferJSON {
	out := make([]unusedOfferJSON, 0, len(list))
	for _, u := range list {
		out = append(out, unusedOfferJSON{Offer: encodeOffer(u.Offer), Reason: []string{u.Reason, u.Why}, Timestamp: spec.FormatTime(u.At)})
	}
	return out
}

func encodeOffer(o spec.Offer) offerJSON {
	out := offerJSON{ID: o.ID, AgentID: o.AgentID, Hostname: o.Host, Attributes: []attributeJSON{}}
	for _, r := range []struct {
		name  string
		value float64
	}{{"cpus", o.CPUs}, {"mem", o.Mem}, {"disk", o.Disk}, {"gpus", o.GPUs}} {
		out.Resources = append(out.Resources, offerResourceJSON{Name: r.name, Role: "*", Scalar: &r.value})
	}
	ports := offerResourceJSON{Name: "ports", Role: "*"}
	for _, p := range o.Ports {
		ports.Ranges = append(ports.Ranges, rangeJSON(p))
	}
	out.Resources = append(out.Resources, ports)
	for _, name := range slices.Sorted(maps.Keys(o.Attributes)) {
		out.Attributes = append(out.Attributes, attributeJSON{Name: name, Text: o.Attributes[name]})
	}
	return out
}

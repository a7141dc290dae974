package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-project/berth/agent/bgp"
	"github.com/berth-project/berth/agent/hostnet"
)

// NetStatus is what a Net knows and does, for people and scripts.
type NetStatus struct {
	Host     string
	Mode     hostnet.Mode
	Now      time.Time // of the answer
	Docker   bool      // the Docker Engine answers
	Document DocumentStatus
	Pools    []PoolStatus
	Blocks   []netip.Prefix
	// Endpoints are the containers on the pools, by address.
	Endpoints []EndpointStatus
	Shims     []hostnet.Shim `json:",omitempty"` // mode L2's
	BGP       *BGPStatus     `json:",omitempty"`
	// Errors are what does not work now, each with its part.
	Errors []string
}

// DocumentStatus says what the host goes by.
type DocumentStatus struct {
	Source   string // the scheduler's API, or a file
	Version  uint64 // 0: there is none, or the file names none
	Received time.Time
	Contact  time.Time // when the scheduler answered last; zero: not since this process began, or there is none
	Trouble  string    // why there is no newer one; "": there is none
}

// PoolStatus is one of the document's pools.
type PoolStatus struct {
	Name     string
	CIDR     netip.Prefix
	CIDR6    netip.Prefix `json:",omitzero"`
	NotReady string       // "": it can be used
}

// EndpointStatus is one container's connection.
type EndpointStatus struct {
	Container    string // its name; "" while Docker does not show it
	Addresses    []netip.Addr
	MAC          string
	Link         string `json:",omitempty"` // the host's end, in routed mode
	Rate, Egress uint64 `json:",omitempty"` // bounds, bits a second
	Spoofed      uint64 `json:",omitempty"` // packets dropped lately, as they named another sender
	Fault        string `json:",omitempty"`
}

// BGPStatus is what is exchanged with peers.
type BGPStatus struct {
	AS        uint32
	RouterID  netip.Addr
	Announced []netip.Prefix
	Learned   int  // prefixes
	Complete  bool // all peers have said all since this process began
	Sessions  []bgp.Session
}

// show publishes the status, as far as the loop knows it.
func (w *netOwner) show() {
	s := NetStatus{
		Host: w.o.Host, Mode: w.o.Mode, Docker: w.snap.Connected,
		Document: DocumentStatus{Source: cmp.Or(w.o.Document, w.o.API), Received: w.received},
		Shims:    w.vlans.job.shims, Errors: w.faults(),
	}
	if w.doc != nil {
		s.Document.Version, s.Blocks = w.doc.Version, w.doc.Blocks
		for _, p := range w.doc.Pools {
			s.Pools = append(s.Pools, PoolStatus{p.Name, p.CIDR, p.CIDR6, readiness(found{refused: w.pools.refused, snap: w.snap, networks: w.pools.settled.status}, p.Name)})
		}
		if w.o.Mode == hostnet.Routed && w.doc.BGP != nil {
			s.BGP = &BGPStatus{AS: w.doc.BGP.AS, RouterID: w.doc.BGP.RouterID, Announced: w.saying.announced, Learned: len(w.learned.Routes), Complete: w.learned.Complete}
		}
	}
	s.Endpoints = w.connections()
	w.status.Set(s)
}

// faults are the parts' errors.
func (w *netOwner) faults() []string {
	out := []string{}
	if !w.snap.Connected {
		out = append(out, "docker: the Docker Engine does not answer")
	}
	cutOff := ""
	if w.fence.cutOff {
		cutOff = "neither the scheduler nor a BGP peer is heard; the seats' addresses are withdrawn"
	}
	for _, f := range [][2]string{{"links and routes", w.complaint}, {"network policies", w.policing.fault}, {"BGP", w.unsaid}, {"VLAN", w.vlans.complaint}, {"fencing", cutOff}} {
		if f[1] != "" {
			out = append(out, f[0]+": "+f[1])
		}
	}
	return out
}

// connections are the links of routed mode, otherwise what Docker shows on the pools.
func (w *netOwner) connections() []EndpointStatus {
	out, names := []EndpointStatus{}, map[netip.Addr]string{}
	for _, c := range w.snap.Containers {
		for network, a := range c.Addresses {
			if !c.Running {
				continue
			}
			names[a] = c.Name
			if w.o.Mode != hostnet.Routed && w.doc != nil && inPools(w.doc.Pools, a) {
				out = append(out, EndpointStatus{Container: c.Name, Addresses: []netip.Addr{a}, MAC: c.MACs[network]})
			}
		}
	}
	for _, l := range w.job.path.Links {
		e := EndpointStatus{Addresses: l.Addresses, MAC: l.MAC, Link: l.Name, Rate: l.Rate, Egress: l.Egress, Fault: w.unmade[l.Name]}
		for _, a := range l.Addresses {
			e.Container, e.Fault = cmp.Or(e.Container, names[a]), cmp.Or(e.Fault, w.fence.withdrawn[a])
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b EndpointStatus) int {
		return cmp.Or(a.Addresses[0].Compare(b.Addresses[0]), cmp.Compare(a.Container, b.Container))
	})
	return out
}

// sessionsTimeout is how long an answer waits for the speaker, which is busy for a while when thousands of routes come in.
const sessionsTimeout = 2 * time.Second

// Status is what there is to say now.
func (n *Net) Status(ctx context.Context) NetStatus {
	s, _ := n.status.Get()
	s.Now, s.Document.Trouble = time.Now(), n.source.Trouble()
	if n.client != nil {
		s.Document.Contact, _ = n.client.Contact().Get()
	}
	s.Endpoints, s.Errors = slices.Clone(s.Endpoints), slices.Clone(s.Errors)
	if n.o.Mode == hostnet.Routed {
		spoofed, err := n.o.Path.Spoofed()
		if err != nil {
			s.Errors = append(s.Errors, "forged packets: "+oneLine(err))
		}
		for i, e := range s.Endpoints {
			s.Endpoints[i].Spoofed = spoofed[e.Link]
		}
	}
	if s.BGP != nil {
		ctx, cancel := context.WithTimeout(ctx, sessionsTimeout)
		defer cancel()
		both := *s.BGP
		var err error
		if both.Sessions, err = n.o.Speaker.Sessions(ctx); err != nil {
			s.Errors = append(s.Errors, "BGP sessions: "+oneLine(err))
		}
		s.BGP = &both
	}
	return s
}

// serveStatus answers every request with the status until ctx ends.
func (n *Net) serveStatus(ctx context.Context) error {
	if n.o.Status == nil {
		return nil
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(n.Status(r.Context())) // who asked is gone
	})}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(n.o.Status); ctx.Err() == nil {
		return fmt.Errorf("answer who asks for the status: %w", err)
	}
	return nil
}

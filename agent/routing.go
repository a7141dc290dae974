package agent

import (
	"context"
	"net/netip"
	"os"
	"time"

	"github.com/berth-project/berth/agent/bgp"
	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/agent/netplugin"
	"github.com/berth-project/berth/spec"
)

// Speaker is the host's BGP; *bgp.Speaker is the real one.
type Speaker interface {
	Run(ctx context.Context) error
	Set(ctx context.Context, c bgp.Config, announced []netip.Prefix) error
	Learned() (bgp.Learned, <-chan struct{})
	Sessions(ctx context.Context) ([]bgp.Session, error)
}

// routingJob is what the host says to its peers.
type routingJob struct {
	peers     *spec.HostBGP // nil: there are none
	announced []netip.Prefix
	again     int // differs when the same must be checked once more
}

// routingDone is what came of it.
type routingDone struct {
	job routingJob
	err error
}

// routingTimeout bounds one round.
const routingTimeout = 30 * time.Second

// speak sets the speaker. Password files are read each time: they may come, or change, without the document.
func speak(ctx context.Context, s Speaker, passwordFile string, j routingJob) error {
	ctx, cancel := context.WithTimeout(ctx, routingTimeout)
	defer cancel()
	config, unread := bgp.FromDocument(j.peers, passwordFile, os.ReadFile)
	if err := s.Set(ctx, config, j.announced); err != nil {
		return err
	}
	return unread
}

// announced is what the host tells its peers: its blocks, and what its containers have beside them. Only addresses of pools
// are told, and only once the container's link is there.
// What is withdrawn is not told.
func announced(doc *spec.HostDocument, endpoints netplugin.Endpoints, withdrawn map[netip.Addr]string) []netip.Prefix {
	var seats []netip.Addr
	for _, e := range endpoints.List {
		for _, a := range e.Addresses {
			if !e.Create && withdrawn[a] == "" && inPools(doc.Pools, a) {
				seats = append(seats, a)
			}
		}
	}
	return hostnet.Announce(hostnet.Blocks(doc.Pools, doc.Blocks), seats)
}

// learned are the routes that peers told, one for each next hop.
func learned(l bgp.Learned) []hostnet.Learned {
	var out []hostnet.Learned
	for _, r := range l.Routes {
		for _, hop := range r.NextHops {
			out = append(out, hostnet.Learned{Prefix: r.Prefix, Via: hop})
		}
	}
	return out
}

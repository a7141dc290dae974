package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	wire "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// gobgp is one run of gobgp's server: everything that is said in its own terms.
type gobgp struct {
	srv    *server.BgpServer
	cancel context.CancelFunc // ends the watching
}

// Times that are ours alone. gobgp's own defaults would leave a peer that came back alone for two minutes.
const (
	connectRetry = 5 // seconds
	// deferral is how long, after a restart, our own announcements wait for what the peers have to say (RFC 4724, 4.1). Only a
	// reflector has anything to gain from waiting: what it announces is what it hears. A peer that is told of no restart does not wait.
	deferral          = 1  // seconds
	reflectorDeferral = 20 // seconds
)

const exportPolicy = "own"

// startGobgp begins to listen, without peers.
func startGobgp(c Config, log slog.Handler, in *inbox) (*gobgp, error) {
	g := &gobgp{srv: server.NewBgpServer(server.LoggerOption(slog.New(log), new(slog.LevelVar)))}
	go g.srv.Serve()
	listen := []string{"0.0.0.0", "::"}
	if len(c.Listen) > 0 {
		listen = nil
		for _, a := range c.Listen {
			listen = append(listen, a.String())
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	err := g.srv.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: c.AS, RouterId: c.RouterID.String(), ListenPort: int32(c.ListenPort), ListenAddresses: listen, UseMultiplePaths: true,
	}})
	if err != nil {
		g.stop()
		return nil, fmt.Errorf("listen for BGP on port %d: %w (is another BGP daemon on this host? listenPort of the BGPConfiguration chooses another port)", c.ListenPort, err)
	}
	if err := errors.Join(g.export(ctx, c.ClusterID.IsValid()), g.watch(ctx, in)); err != nil {
		g.stop()
		return nil, fmt.Errorf("set gobgp up: %w", err)
	}
	return g, nil
}

// export lets only the host's own prefixes out, so that no host ever becomes a transit between its peers. A route reflector passes
// on what it hears inside its AS as well.
func (g *gobgp) export(ctx context.Context, reflector bool) error {
	kinds := []api.Conditions_RouteType{api.Conditions_ROUTE_TYPE_LOCAL}
	if reflector {
		kinds = append(kinds, api.Conditions_ROUTE_TYPE_INTERNAL)
	}
	policy := &api.Policy{Name: exportPolicy}
	for _, k := range kinds {
		policy.Statements = append(policy.Statements, &api.Statement{
			Name: exportPolicy + "-" + k.String(), Conditions: &api.Conditions{RouteType: k}, Actions: &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT},
		})
	}
	if err := g.srv.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return err
	}
	return g.srv.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Direction: api.PolicyDirection_POLICY_DIRECTION_EXPORT, Policies: []*api.Policy{policy}, DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}})
}

// watch tells the inbox what changes, until ctx ends.
func (g *gobgp) watch(ctx context.Context, in *inbox) error {
	return g.srv.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnBestPath: func(paths []*apiutil.Path, _ time.Time) {
			prefixes := make([]netip.Prefix, 0, len(paths))
			for _, p := range paths {
				if prefix, ok := prefixOf(p.Nlri); ok {
					prefixes = append(prefixes, prefix)
				}
			}
			in.changed(prefixes...)
		},
		OnPathUpdate: func(paths []*apiutil.Path, _ time.Time) {
			var prefixes []netip.Prefix
			for _, p := range paths {
				if prefix, ok := prefixOf(p.Nlri); ok && prefix.IsSingleIP() {
					prefixes = append(prefixes, prefix)
				}
			}
			in.told(prefixes)
		},
		OnPathEor: func(p *apiutil.Path, _ time.Time) {
			in.happened(peerEvent{peer: p.PeerAddress.Unmap(), kind: heardAll})
		},
		OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
			if e.Type != apiutil.PEER_EVENT_STATE {
				return
			}
			in.happened(peerEvent{
				peer: e.Peer.State.NeighborAddress.Unmap(), kind: stateChanged,
				state: strings.ToLower(strings.TrimPrefix(e.Peer.State.SessionState.String(), "BGP_FSM_")), reason: e.Peer.State.DisconnectMessage,
			})
		},
	}, server.WatchBestPath(true), server.WatchPostUpdate(false, "", ""), server.WatchPeer(), server.WatchEor(true))
}

// stop closes all sessions without a word, so that peers treat it as a restart and keep our routes.
func (g *gobgp) stop() {
	_ = g.srv.StopBgp(context.Background(), &api.StopBgpRequest{AllowGracefulRestart: true}) // fails only when it has ended already
	g.srv.Stop()
	g.cancel()
}

// peer is a session in gobgp's terms. restarting: it is the first one with this peer in this process, which means that the kernel has kept
// on forwarding while we were away.
func peer(c Config, p Peer, restarting bool) *api.Peer {
	family := &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	if p.Address.Is6() {
		family.Afi = api.Family_AFI_IP6
	}
	wait := uint32(deferral)
	if c.ClusterID.IsValid() {
		wait = reflectorDeferral
	}
	hold := uint64(c.HoldTime / time.Second)
	out := &api.Peer{
		Conf:   &api.PeerConf{NeighborAddress: p.Address.String(), PeerAsn: p.AS, AuthPassword: p.Password, Description: p.Name, AllowOwnAsn: uint32(p.AllowOwnAS)},
		Timers: &api.Timers{Config: &api.TimersConfig{HoldTime: hold, KeepaliveInterval: hold / 3, ConnectRetry: connectRetry, IdleHoldTimeAfterReset: connectRetry}},
		GracefulRestart: &api.GracefulRestart{
			Enabled: true, RestartTime: uint32(p.RestartTime / time.Second), DeferralTime: wait, LocalRestarting: restarting,
		},
		AfiSafis: []*api.AfiSafi{{
			Config:            &api.AfiSafiConfig{Family: family, Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}},
		}},
		Transport: &api.Transport{RemotePort: uint32(p.Port)},
	}
	if p.Source.IsValid() {
		out.Transport.LocalAddress = p.Source.String()
	}
	if p.Client && c.ClusterID.IsValid() {
		out.RouteReflector = &api.RouteReflector{RouteReflectorClient: true, RouteReflectorClusterId: c.ClusterID.String()}
	}
	switch {
	case p.TTLHops > 0:
		out.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: math.MaxUint8 + 1 - uint32(p.TTLHops)}
	case p.AS != c.AS: // as in Calico, a router need not be on the same link
		out.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: math.MaxUint8}
	}
	return out
}

func (g *gobgp) addPeer(c Config, p Peer, restarting bool) error {
	return g.srv.AddPeer(context.Background(), &api.AddPeerRequest{Peer: peer(c, p, restarting)})
}

// removePeer ends a session and forgets its routes. gobgp takes the password off its listening sockets only when the configuration loses
// it, not when the peer goes; without the first call the address could never connect again without that password.
func (g *gobgp) removePeer(c Config, p Peer) error {
	if p.Password != "" {
		p.Password = ""
		if _, err := g.srv.UpdatePeer(context.Background(), &api.UpdatePeerRequest{Peer: peer(c, p, false)}); err != nil {
			return err
		}
	}
	return g.srv.DeletePeer(context.Background(), &api.DeletePeerRequest{Address: p.Address.String()})
}

// announce and withdraw say one of the host's own prefixes, or no longer.
func (g *gobgp) announce(prefixes []netip.Prefix) error {
	paths, err := ownPaths(prefixes)
	if err != nil || len(paths) == 0 {
		return err
	}
	_, err = g.srv.AddPath(apiutil.AddPathRequest{Paths: paths})
	return err
}

func (g *gobgp) withdraw(prefixes []netip.Prefix) error {
	paths, err := ownPaths(prefixes)
	if err != nil || len(paths) == 0 {
		return err
	}
	return g.srv.DeletePath(apiutil.DeletePathRequest{Paths: paths})
}

// ownPaths have no next hop of their own: each peer is told the address that its session has on this side.
func ownPaths(prefixes []netip.Prefix) ([]*apiutil.Path, error) {
	out := make([]*apiutil.Path, 0, len(prefixes))
	for _, p := range prefixes {
		family, self := wire.RF_IPv4_UC, netip.IPv4Unspecified()
		if p.Addr().Is6() {
			family, self = wire.RF_IPv6_UC, netip.IPv6Unspecified()
		}
		nlri, err := wire.NewIPAddrPrefix(p)
		if err != nil {
			return nil, fmt.Errorf("announce %s: %w", p, err)
		}
		hop, err := wire.NewPathAttributeNextHop(self)
		if err != nil {
			return nil, fmt.Errorf("announce %s: %w", p, err)
		}
		out = append(out, &apiutil.Path{Family: family, Nlri: nlri, Attrs: []wire.PathAttributeInterface{wire.NewPathAttributeOrigin(wire.BGP_ORIGIN_ATTR_TYPE_IGP), hop}})
	}
	return out, nil
}

// routes calls found for each prefix that others announce, or for each of only, with the next hops of its best paths; none when the host
// itself announces it, too.
func (g *gobgp) routes(family wire.Family, only map[netip.Prefix]bool, found func(netip.Prefix, []netip.Addr)) error {
	r := apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: family}
	for p := range only {
		if p.Addr().Is4() == (family == wire.RF_IPv4_UC) {
			r.Prefixes = append(r.Prefixes, &apiutil.LookupPrefix{Prefix: p.String()})
		}
	}
	if only != nil && len(r.Prefixes) == 0 {
		return nil
	}
	return g.srv.ListPath(r, func(nlri wire.NLRI, paths []*apiutil.Path) {
		if prefix, ok := prefixOf(nlri); ok {
			if hops, told := nextHops(paths, prefix); told {
				found(prefix, hops)
			}
		}
	})
}

// nextHops are those of the best paths, and whether there are any. A single address that the host itself announces has none: others
// that announce it, too, are no way to it.
func nextHops(paths []*apiutil.Path, prefix netip.Prefix) (hops []netip.Addr, told bool) {
	own := false
	for _, p := range paths {
		if !p.PeerAddress.IsValid() || p.PeerAddress.IsUnspecified() {
			own = true
			continue
		}
		told = told || prefix.IsSingleIP()
		if !p.Best {
			continue
		}
		for _, a := range p.Attrs {
			switch a := a.(type) {
			case *wire.PathAttributeNextHop:
				hops = append(hops, a.Value.Unmap())
			case *wire.PathAttributeMpReachNLRI:
				hops = append(hops, a.Nexthop.Unmap())
			}
		}
	}
	if own {
		return nil, told
	}
	slices.SortFunc(hops, netip.Addr.Compare)
	return slices.Compact(hops), len(hops) > 0
}

func prefixOf(nlri wire.NLRI) (netip.Prefix, bool) {
	if p, ok := nlri.(*wire.IPAddrPrefix); ok {
		return p.Prefix, true
	}
	return netip.Prefix{}, false
}

// counts are what gobgp counts of one peer.
type counts struct {
	received, sent int
	notifications  uint64 // that we sent
}

// counts of all peers, or of one. Counting what is sent to a peer is expensive.
func (g *gobgp) counts(only string, sent bool) (map[netip.Addr]counts, error) {
	out := map[netip.Addr]counts{}
	err := g.srv.ListPeer(context.Background(), &api.ListPeerRequest{Address: only, EnableAdvertised: sent}, func(p *api.Peer) {
		addr, err := netip.ParseAddr(p.GetState().GetNeighborAddress())
		if err != nil {
			return
		}
		c := counts{notifications: p.GetState().GetMessages().GetSent().GetNotification()}
		for _, f := range p.GetAfiSafis() {
			c.received += int(f.GetState().GetReceived())
			c.sent += int(f.GetState().GetAdvertised())
		}
		out[addr.Unmap()] = c
	})
	return out, err
}

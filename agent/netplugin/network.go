package netplugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-plugins-helpers/network"
	"github.com/docker/go-plugins-helpers/sdk"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/spec"
)

// How Docker attaches a container, as tried with 20.10: RequestAddress, CreateEndpoint, Join, then it moves SrcName into
// the container, names it eth0, gives it the address, the static routes and the gateway, and starts the container. At its
// end: Leave, DeleteEndpoint, ReleaseAddress. A daemon that starts anew with live-restore asks for no endpoint again. One
// whose containers ended with it calls Leave and DeleteEndpoint for them when it starts.

// Endpoints are the endpoints that containers have joined.
type Endpoints struct {
	Version uint64 // grows with each change
	List    []hostnet.Endpoint
}

// Settled says what came of a version of the endpoints.
type Settled struct {
	Version uint64
	Failed  map[string]string // link -> why it does not work
	Missing []string          // links that are gone although nobody left
	Idle    []string          // links whose other end is in no container
	// Unknown are the links of new containers that network policies may select, as far as the host's document knows.
	Unknown []string
	Err     error // of the whole
}

// unknown is how long a container waits for a document that says which policies select it. The scheduler starts a container and tells
// the host of it at the same time. One that is told of nowhere is not the scheduler's.
const unknown = 5 * time.Second

// settle is how long a callback waits for the host's network. Docker gives up after 30 s.
const settle = 10 * time.Second

// The options that bound what a container receives and sends: docker run --network name=berth,driver-opt=berth.ingress=100Mbit.
const (
	rateOption   = "berth.ingress"
	egressOption = "berth.egress"
)

// connected is RouteType of a route that leads to the interface itself.
const connected = 1

// Endpoints changes when containers join and leave; its owner makes the host's network so and answers with Settle.
func (p *Plugin) Endpoints() (Endpoints, <-chan struct{}) { return p.endpoints.Get() }

// idleAfter is how long a link may have its other end on the host before its container is held to be gone: Docker moves it
// right after Join, and takes it back out at the end.
const idleAfter = 30 * time.Second

// Settle takes in what came of the endpoints. One whose link is gone, or has no container for a while, although Docker did
// not say so has ended while nobody listened, and is forgotten. It is called again and again by one owner.
func (p *Plugin) Settle(s Settled) {
	p.settled.Set(s)
	var gone []string
	now := time.Now()
	maps.DeleteFunc(p.idle, func(link string, _ time.Time) bool { return !slices.Contains(s.Idle, link) })
	ended := slices.Clone(s.Missing)
	for _, link := range s.Idle {
		if since, known := p.idle[link]; !known {
			p.idle[link] = now
		} else if now.Sub(since) > idleAfter {
			ended = append(ended, link)
		}
	}
	p.journal.look(func(d journalData) {
		for _, link := range ended {
			if e := d.Endpoints[link]; e != nil && e.Joined && !e.Create {
				gone = append(gone, link)
			}
		}
	})
	if len(gone) == 0 {
		return
	}
	if err := p.journal.change(func(d *journalData) error {
		for _, link := range gone {
			delete(d.Endpoints, link)
		}
		return nil
	}); err != nil {
		p.o.Log.WithError(err).Error("ended endpoints are not forgotten; trying again")
		return
	}
	p.o.Log.WithField("links", strings.Join(gone, " ")).Info("containers ended without saying so; their endpoints are forgotten")
	p.publish()
}

// publish hands the joined endpoints to their owner, and says under which version.
func (p *Plugin) publish() uint64 {
	p.publishing.Lock()
	defer p.publishing.Unlock()
	last, _ := p.endpoints.Get()
	next := Endpoints{Version: last.Version + 1, List: p.journal.endpoints()}
	p.endpoints.Set(next)
	return next.Version
}

// wait waits until the version, or a later one, is settled.
func (p *Plugin) wait(ctx context.Context, version uint64) (Settled, error) {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for {
		s, changed := p.settled.Get()
		if s.Version >= version {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, errors.New("the host's network did not settle in time")
		case <-changed:
		}
	}
}

// known waits, once the version is settled, until the link is no longer unknown.
func (p *Plugin) known(ctx context.Context, link string) Settled {
	ctx, cancel := context.WithTimeout(ctx, unknown)
	defer cancel()
	for {
		s, changed := p.settled.Get()
		if !slices.Contains(s.Unknown, link) {
			return s
		}
		select {
		case <-ctx.Done():
			p.o.Log.WithField("link", link).Warn("a container starts of which the host document does not know; no network policy selects it")
			return s
		case <-changed:
		}
	}
}

// networkDriver adds the network driver's part of Docker's plugin protocol.
func (p *Plugin) networkDriver(mux *http.ServeMux) {
	const at = "/NetworkDriver."
	mux.HandleFunc(at+"GetCapabilities", func(w http.ResponseWriter, _ *http.Request) {
		// Local: each host has its own networks, and Docker asks no store for them.
		sdk.EncodeResponse(w, network.CapabilitiesResponse{Scope: network.LocalScope, ConnectivityScope: network.LocalScope}, false)
	})
	mux.HandleFunc(at+"CreateNetwork", answer(p, p.createNetwork))
	mux.HandleFunc(at+"DeleteNetwork", answer(p, p.deleteNetwork))
	mux.HandleFunc(at+"CreateEndpoint", answer(p, p.createEndpoint))
	mux.HandleFunc(at+"DeleteEndpoint", answer(p, p.deleteEndpoint))
	mux.HandleFunc(at+"EndpointOperInfo", answer(p, p.endpointInfo))
	mux.HandleFunc(at+"Join", answer(p, p.join))
	mux.HandleFunc(at+"Leave", answer(p, p.leave))
	// A container has all its ports on an address of its own: there is nothing to publish, and nothing to discover.
	for _, none := range []string{"ProgramExternalConnectivity", "RevokeExternalConnectivity", "DiscoverNew", "DiscoverDelete"} {
		mux.HandleFunc(at+none, answer(p, func(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil }))
	}
}

func (p *Plugin) createNetwork(_ context.Context, q network.CreateNetworkRequest) (struct{}, error) {
	if q.NetworkID == "" {
		return struct{}{}, errors.New("create network: it has no id")
	}
	if len(q.IPv4Data) != 1 || q.IPv4Data[0] == nil {
		return struct{}{}, errors.New("create network: it needs one --subnet, that of a pool")
	}
	pool, err := p.book.pool(q.IPv4Data[0].Pool)
	if err != nil {
		return struct{}{}, fmt.Errorf("create network: %w", err)
	}
	return struct{}{}, p.journal.change(func(d *journalData) error {
		d.Networks[q.NetworkID] = pool.Name
		return nil
	})
}

func (p *Plugin) deleteNetwork(_ context.Context, q network.DeleteNetworkRequest) (struct{}, error) {
	return struct{}{}, p.journal.change(func(d *journalData) error {
		delete(d.Networks, q.NetworkID)
		return nil
	})
}

// createEndpoint notes the endpoint; nothing is made before a container joins it. A repeated request gets the same answer.
func (p *Plugin) createEndpoint(_ context.Context, q network.CreateEndpointRequest) (network.CreateEndpointResponse, error) {
	fail := func(err error) (network.CreateEndpointResponse, error) {
		return network.CreateEndpointResponse{}, fmt.Errorf("create endpoint %s: %w", short(q.EndpointID), err)
	}
	link, _, err := hostnet.LinkNames(q.EndpointID)
	if err != nil {
		return fail(err)
	}
	e, err := newEndpoint(q)
	if err != nil {
		return fail(err)
	}
	given := len(e.Addresses)
	if twin := p.book.twin(e.Addresses[0]); given == 1 && twin.IsValid() {
		e.Addresses = append(e.Addresses, twin)
	}
	last, _ := p.settled.Get()
	err = p.journal.change(func(d *journalData) error {
		if old := d.Endpoints[link]; old != nil && old.ID == q.EndpointID && old.Joined {
			return errors.New("a container has joined it")
		}
		if other := clash(d, link, e, slices.Concat(last.Missing, last.Idle)); other != nil {
			return fmt.Errorf("address %v is on endpoint %s", shared(e.Addresses, other.Addresses), short(other.ID))
		}
		d.Endpoints[link] = e
		return nil
	})
	if err != nil {
		return fail(err)
	}
	// Only what Docker did not choose itself may be in the answer.
	var own network.EndpointInterface
	if q.Interface.MacAddress == "" {
		own.MacAddress = e.MAC
	}
	if len(e.Addresses) > given {
		own.AddressIPv6 = netip.PrefixFrom(e.Addresses[given], e.Addresses[given].BitLen()).String()
	}
	if own == (network.EndpointInterface{}) {
		return network.CreateEndpointResponse{}, nil
	}
	return network.CreateEndpointResponse{Interface: &own}, nil
}

// newEndpoint checks what Docker says of an endpoint.
func newEndpoint(q network.CreateEndpointRequest) (*endpoint, error) {
	if q.Interface == nil {
		return nil, errors.New("it has no interface")
	}
	e := &endpoint{ID: q.EndpointID, Network: q.NetworkID, MAC: strings.ToLower(q.Interface.MacAddress)}
	for _, text := range []string{q.Interface.Address, q.Interface.AddressIPv6} {
		if text == "" {
			continue
		}
		a, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("address %q is none", text)
		}
		e.Addresses = append(e.Addresses, a.Addr().Unmap())
	}
	if len(e.Addresses) == 0 {
		return nil, errors.New("it has no address")
	}
	if e.MAC == "" {
		e.MAC = hostnet.MAC(e.Addresses[0])
	}
	if mac, err := net.ParseMAC(e.MAC); err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("hardware address %q is none of an Ethernet", e.MAC)
	}
	for option, rate := range map[string]*uint64{rateOption: &e.Rate, egressOption: &e.Egress} {
		if text, ok := q.Options[option].(string); ok {
			var err error
			if *rate, err = spec.ParseRate(text); err != nil {
				return nil, fmt.Errorf("option %s: %w", option, err)
			}
		}
	}
	return e, nil
}

// clash finds another endpoint on one of e's addresses. The IPAM driver has granted the address to e, so one that no
// container has joined, or whose link is gone or leads nowhere, has ended, and makes way.
func clash(d *journalData, link string, e *endpoint, ended []string) *endpoint {
	for name, other := range d.Endpoints {
		if name == link || !shared(e.Addresses, other.Addresses).IsValid() {
			continue
		}
		if other.Joined && !slices.Contains(ended, name) {
			return other
		}
		delete(d.Endpoints, name)
	}
	return nil
}

// shared is the first of a that is in b, too; invalid: none is.
func shared(a, b []netip.Addr) netip.Addr {
	for _, x := range a {
		if slices.Contains(b, x) {
			return x
		}
	}
	return netip.Addr{}
}

// deleteEndpoint is idempotent; Docker may have asked before, or the endpoint be of before a reboot.
func (p *Plugin) deleteEndpoint(ctx context.Context, q network.DeleteEndpointRequest) (struct{}, error) {
	return struct{}{}, p.end(ctx, q.EndpointID, func(d *journalData, link string) { delete(d.Endpoints, link) })
}

func (p *Plugin) leave(ctx context.Context, q network.LeaveRequest) (struct{}, error) {
	return struct{}{}, p.end(ctx, q.EndpointID, func(d *journalData, link string) {
		e := *d.Endpoints[link]
		e.Joined, e.Create, e.Sandbox = false, false, ""
		d.Endpoints[link] = &e
	})
}

// end changes an endpoint so that it has no container any more, and waits until the host's network has: the address may be
// given to the next one right after the answer. When that does not come in time Docker is not held up: whoever gets the
// address next takes its route over.
func (p *Plugin) end(ctx context.Context, id string, do func(*journalData, string)) error {
	link, _, err := hostnet.LinkNames(id)
	if err != nil {
		return nil // not one of ours
	}
	known, joined := false, false
	p.journal.look(func(d journalData) {
		if e := d.Endpoints[link]; e != nil {
			known, joined = true, e.Joined
		}
	})
	if !known {
		return nil
	}
	if err := p.journal.change(func(d *journalData) error {
		if d.Endpoints[link] != nil {
			do(d, link)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("end endpoint %s: %w", short(id), err)
	}
	if !joined {
		return nil
	}
	if _, err := p.wait(ctx, p.publish()); err != nil {
		p.o.Log.WithError(err).WithField("link", link).Warn("the link of an ended container is still there")
	}
	return nil
}

// join has the endpoint's pair of interfaces made and everything around it, and then tells Docker which to take.
func (p *Plugin) join(ctx context.Context, q network.JoinRequest) (network.JoinResponse, error) {
	fail := func(err error) (network.JoinResponse, error) {
		return network.JoinResponse{}, fmt.Errorf("join endpoint %s: %w", short(q.EndpointID), err)
	}
	link, peer, err := hostnet.LinkNames(q.EndpointID)
	if err != nil {
		return fail(err)
	}
	var e endpoint
	set := func(change func(*endpoint)) error {
		return p.journal.change(func(d *journalData) error {
			old := d.Endpoints[link]
			if old == nil {
				return errors.New("it is not known; Docker did not create it, or it has ended")
			}
			e = *old
			change(&e)
			d.Endpoints[link] = &e
			return nil
		})
	}
	if err := set(func(e *endpoint) { e.Joined, e.Create, e.Sandbox = true, true, q.SandboxKey }); err != nil {
		return fail(err)
	}
	s, err := p.wait(ctx, p.publish())
	if err == nil {
		s = p.known(ctx, link)
	}
	if reason := s.Failed[link]; err == nil && reason != "" {
		err = errors.New(reason)
	} else if err == nil && s.Err != nil {
		// Something else of the host's network failed: this link is as it should be.
		p.o.Log.WithError(s.Err).WithField("link", link).Warn("a container joins a network that is not whole")
	}
	if err != nil {
		_ = set(func(e *endpoint) { e.Joined, e.Create, e.Sandbox = false, false, "" }) // an endpoint that is gone needs no undoing
		p.publish()
		return fail(err)
	}
	if err := set(func(e *endpoint) { e.Create = false }); err != nil {
		return fail(err)
	}
	p.publish()
	p.o.Log.WithFields(logrus.Fields{"link": link, "address": e.Addresses[0]}).Debug("a container joins")
	return joined(e, peer), nil
}

// joined is the answer to Join. The gateway is link-local and the address a single one, so the way to the gateway comes
// before the default route.
func joined(e endpoint, peer string) network.JoinResponse {
	r := network.JoinResponse{InterfaceName: network.InterfaceName{SrcName: peer, DstPrefix: "eth"}}
	for _, a := range e.Addresses {
		gateway := hostnet.Gateway4
		if a.Is6() {
			gateway = hostnet.Gateway6
			r.GatewayIPv6 = gateway.String()
		} else {
			r.Gateway = gateway.String()
		}
		r.StaticRoutes = append(r.StaticRoutes, &network.StaticRoute{
			Destination: netip.PrefixFrom(gateway, gateway.BitLen()).String(), RouteType: connected,
		})
	}
	return r
}

// endpointInfo is for people who look (docker network inspect -v).
func (p *Plugin) endpointInfo(_ context.Context, q network.InfoRequest) (network.InfoResponse, error) {
	r := network.InfoResponse{Value: map[string]string{}}
	link, _, err := hostnet.LinkNames(q.EndpointID)
	if err != nil {
		return r, nil
	}
	p.journal.look(func(d journalData) {
		if e := d.Endpoints[link]; e != nil {
			r.Value["berth.link"], r.Value["berth.mac"] = link, e.MAC
		}
	})
	return r, nil
}

// short is an id as people write it.
func short(id string) string { return id[:min(12, len(id))] }

package netplugin

// What dockerd 20.10 with live-restore does when it starts, as tried:
//
//   - With RequiresRequestReplay it calls, before its API answers: Plugin.Activate (once a daemon process),
//     GetCapabilities, GetDefaultAddressSpaces, then for each network of ours RequestPool, RequestAddress for the gateway,
//     and RequestAddress for the address of each container that runs on. Refusing one of the latter only makes it log a
//     warning, but the grant would be missing here, so each is granted once (see book.holder). Only after that it starts
//     containers that have a restart policy.
//   - Without RequiresRequestReplay it asks for nothing, and the inventory alone would know what is in use, too late for
//     containers with a restart policy.
//   - While this plugin's socket does not answer, the daemon's start is delayed by 15.3 to 15.5 s (once, however many
//     containers run), and then succeeds; containers that run keep running and keep their network. Starting a container
//     on a network of ours fails meanwhile, each time after 15 s. As soon as the socket answers, the next start works
//     (0.4 s), without a restart of the daemon. So Berth should start before Docker, and nothing breaks when it does not.
//   - While the socket does not answer, the end of a container is also told late: the daemon gives the address back first,
//     tries that for 15.1 s (after 1, 2, 4 and 8 s), and only then says "die" and that it does not run. docker stop and kill
//     wait as long. The address is free afterwards, as the inventory no longer shows it.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/docker/go-plugins-helpers/ipam"
	"github.com/docker/go-plugins-helpers/sdk"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// addressType and gatewayType are how Docker says that it wants a network's gateway.
const (
	addressType = "RequestAddressType"
	gatewayType = "com.docker.network.gateway"
)

// maxRequest bounds a request body; Docker's are a few hundred bytes.
const maxRequest = 1 << 20

// capabilities is the answer to GetCapabilities; ipam.CapabilitiesResponse lacks the second field.
type capabilities struct {
	// RequiresMACAddress stays false: Docker then derives the MAC from the address, and a seat keeps both over restarts.
	RequiresMACAddress bool
	// RequiresRequestReplay makes a starting daemon ask again for the pools and addresses in use.
	RequiresRequestReplay bool
}

// Handler is the driver's side of Docker's plugin protocol.
func (p *Plugin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/Plugin.Activate", func(w http.ResponseWriter, _ *http.Request) {
		// Once a daemon process, before its first request: what the previous daemon was granted it asks for again.
		snap, _ := p.o.Inventory.Get()
		p.book.reset(snap)
		implements := []string{"IpamDriver"}
		if p.journal != nil {
			implements = append(implements, "NetworkDriver")
		}
		sdk.EncodeResponse(w, map[string][]string{"Implements": implements}, false)
	})
	mux.HandleFunc("/IpamDriver.GetCapabilities", func(w http.ResponseWriter, _ *http.Request) {
		sdk.EncodeResponse(w, capabilities{RequiresRequestReplay: true}, false)
	})
	mux.HandleFunc("/IpamDriver.GetDefaultAddressSpaces", func(w http.ResponseWriter, _ *http.Request) {
		sdk.EncodeResponse(w, ipam.AddressSpacesResponse{LocalDefaultAddressSpace: "berth", GlobalDefaultAddressSpace: "berth-global"}, false)
	})
	mux.HandleFunc("/IpamDriver.RequestPool", answer(p, p.requestPool))
	mux.HandleFunc("/IpamDriver.ReleasePool", answer(p, func(context.Context, ipam.ReleasePoolRequest) (struct{}, error) { return struct{}{}, nil }))
	mux.HandleFunc("/IpamDriver.RequestAddress", answer(p, p.requestAddress))
	mux.HandleFunc("/IpamDriver.ReleaseAddress", answer(p, p.releaseAddress))
	if p.journal != nil {
		p.networkDriver(mux)
	}
	return mux
}

// answer decodes a request, decides, and encodes the answer or the refusal in Docker's form.
func answer[Q, A any](p *Plugin, decide func(context.Context, Q) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := decode[Q](r.Body)
		if err != nil {
			sdk.EncodeResponse(w, ipam.NewErrorResponse(err.Error()), true)
			return
		}
		a, err := decide(r.Context(), q)
		if err != nil {
			p.o.Log.WithError(err).Warn("refused a request of Docker's")
			sdk.EncodeResponse(w, ipam.NewErrorResponse("berth: "+err.Error()), true)
			return
		}
		sdk.EncodeResponse(w, a, false)
	}
}

func decode[Q any](body io.Reader) (Q, error) {
	var q Q
	b, err := io.ReadAll(io.LimitReader(body, maxRequest+1))
	if err != nil {
		return q, fmt.Errorf("read request: %w", err)
	}
	if len(b) > maxRequest {
		return q, fmt.Errorf("read request: longer than %d bytes", maxRequest)
	}
	if err := json.Unmarshal(b, &q); err != nil {
		return q, fmt.Errorf("decode request: %w", err)
	}
	return q, nil
}

func (p *Plugin) requestPool(_ context.Context, q ipam.RequestPoolRequest) (ipam.RequestPoolResponse, error) {
	if q.V6 {
		return ipam.RequestPoolResponse{}, errors.New("request pool: IPv6 pools are not served")
	}
	if q.Pool == "" {
		return ipam.RequestPoolResponse{}, errors.New("request pool: name the pool's network with --subnet")
	}
	if q.SubPool != "" {
		return ipam.RequestPoolResponse{}, errors.New("request pool: leave out --ip-range; addresses are leased by Berth's scheduler")
	}
	pool, err := p.book.pool(q.Pool)
	if err != nil {
		return ipam.RequestPoolResponse{}, err
	}
	return ipam.RequestPoolResponse{PoolID: pool.Name, Pool: p.book.network(pool).String()}, nil
}

func (p *Plugin) requestAddress(ctx context.Context, q ipam.RequestAddressRequest) (ipam.RequestAddressResponse, error) {
	pool, err := p.book.byName(q.PoolID)
	if err != nil {
		return ipam.RequestAddressResponse{}, err
	}
	var a netip.Addr
	if q.Address != "" {
		if a, err = netip.ParseAddr(q.Address); err != nil {
			return ipam.RequestAddressResponse{}, fmt.Errorf("request address: %q is not an address", q.Address)
		}
	}
	granted := func(a netip.Addr) (ipam.RequestAddressResponse, error) {
		return ipam.RequestAddressResponse{Address: netip.PrefixFrom(a, p.bits(pool)).String()}, nil
	}
	if q.Options[addressType] == gatewayType {
		gateway := p.gateway(pool)
		if a.IsValid() && a != gateway.Addr() {
			return ipam.RequestAddressResponse{}, fmt.Errorf("request address: the gateway of pool %s is %v, not %v", pool.Name, gateway.Addr(), a)
		}
		return ipam.RequestAddressResponse{Address: gateway.String()}, nil
	}
	snap, err := p.look(ctx)
	if err != nil {
		return ipam.RequestAddressResponse{}, err
	}
	if !a.IsValid() {
		if a, err = p.pick(ctx, pool, snap); err != nil {
			return ipam.RequestAddressResponse{}, err
		}
		return granted(a)
	}
	if err := p.book.request(pool, a, snap, time.Now()); err != nil {
		return ipam.RequestAddressResponse{}, err
	}
	if err := p.unoccupied(ctx, pool, a); err != nil {
		p.book.ungrant(a)
		return ipam.RequestAddressResponse{}, err
	}
	return granted(a)
}

// picks is how many addresses are tried for a container that names none, where others may be on them.
const picks = 8

// pick grants the next free address that nobody in the pool's VLAN has.
func (p *Plugin) pick(ctx context.Context, pool spec.Pool, snap docker.Snapshot) (netip.Addr, error) {
	var last error
	for range picks {
		a, err := p.book.pick(pool, snap, time.Now())
		if err != nil {
			return a, errors.Join(err, last)
		}
		if last = p.unoccupied(ctx, pool, a); last == nil {
			return a, nil
		}
		p.book.ungrant(a) // the next one comes after it
	}
	return netip.Addr{}, last
}

// unoccupied asks the pool's VLAN whether somebody has the address, be it a container on another host that should be gone. A
// daemon that starts anew asks for what its own containers have, which need not be asked for again.
func (p *Plugin) unoccupied(ctx context.Context, pool spec.Pool, a netip.Addr) error {
	if p.o.Occupied == nil || p.book.replays() {
		return nil
	}
	by, err := p.o.Occupied(ctx, pool.Name, a)
	if err != nil {
		return fmt.Errorf("grant address: %w", err)
	}
	if by != "" {
		return fmt.Errorf("grant address: %v of pool %s is held by %s", a, pool.Name, by)
	}
	return nil
}

// gateway is the pool's, with the length of the network that it is on.
func (p *Plugin) gateway(pool spec.Pool) netip.Prefix {
	if p.o.Occupied != nil {
		return pool.VLAN()
	}
	return netip.PrefixFrom(pool.Gateway(), pool.CIDR.Bits())
}

// bits is the length of the network that a container believes to be on: the pool's where all are on one bridge, the VLAN's, or
// none where each container has a link of its own.
func (p *Plugin) bits(pool spec.Pool) int {
	if p.book.single {
		return pool.CIDR.Addr().BitLen()
	}
	return p.gateway(pool).Bits()
}

// hold is how long a request waits for the first inventory. Docker waits longer (30 s) for the answer, and the inventory
// needs 2 s for a daemon that cannot describe all its containers.
const hold = 5 * time.Second

// look returns the containers that a request is judged by. Right after this process began nothing is known of them: who
// asks then is held for a while, and refused when the inventory does not come, as the address may be in use.
func (p *Plugin) look(ctx context.Context) (docker.Snapshot, error) {
	timeout := time.NewTimer(hold)
	defer timeout.Stop()
	for {
		snap, changed := p.o.Inventory.Get()
		if p.book.decidable(snap) {
			return snap, nil
		}
		select {
		case <-ctx.Done():
			return docker.Snapshot{}, fmt.Errorf("grant address: %w", ctx.Err())
		case <-timeout.C:
			return docker.Snapshot{}, errors.New("grant address: Berth has just started and does not know yet which containers run; try again")
		case <-changed:
		}
	}
}

// releaseAddress is idempotent, and knows no pool: one that has left the configuration must still give addresses back.
func (p *Plugin) releaseAddress(_ context.Context, q ipam.ReleaseAddressRequest) (struct{}, error) {
	a, err := netip.ParseAddr(q.Address)
	if err != nil {
		return struct{}{}, fmt.Errorf("release address: %q is not an address", q.Address)
	}
	snap, _ := p.o.Inventory.Get()
	p.book.release(a, snap)
	return struct{}{}, nil
}

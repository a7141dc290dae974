package netplugin

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/spec"
)

// State is what the agent tells the plugin; each Set replaces the whole.
type State struct {
	Pools []spec.Pool
	// Host are the host's own addresses inside the pools with a text that says where they are; gateways are left out.
	Host map[netip.Addr]string
	// Blocks are the parts of pools from which a container that names no address gets one.
	Blocks []netip.Prefix
	// Taken are the parts of Blocks that are seats' all the same, and those on which seats are here; only who names an address there
	// gets it.
	Taken []netip.Prefix
}

// grant is an address that Docker asked for and has not released.
type grant struct {
	seen time.Time // when it was granted, or when a container last showed it
}

// book knows which addresses are taken. Two sources: what this plugin granted, and the addresses that the inventory's
// containers show (granted before this process began). The zero book grants nothing.
type book struct {
	mu     sync.Mutex // guards all below; held for map operations only
	state  State
	grants map[netip.Addr]*grant
	// released are containers by id whose address Docker has given back although the inventory, which lags by the time an
	// event needs, may still show it. An entry ends when the inventory has caught up, or the address is granted again.
	released map[netip.Addr]map[string]bool
	// known says that the inventory has been connected: what it shows now is at least the last known state.
	known bool
	// replaying says that a daemon has started (it activated the plugin while the inventory was not connected) and asks again
	// for what its containers hold. It ends when the inventory connects, which needs the daemon's API.
	replaying bool
	vlan      bool // containers are in the pool's VLAN
	single    bool // containers get their address as a network of its own, and there is no bridge with a gateway
	// last is the address that was picked last in a pool: the next one comes after it, so that one just released rests.
	last map[string]netip.Addr
}

func newBook() *book {
	return &book{grants: map[netip.Addr]*grant{}, released: map[netip.Addr]map[string]bool{}, last: map[string]netip.Addr{}}
}

func (b *book) set(s State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = s
}

// reset forgets the grants: a Docker daemon has just started and will ask again for everything that its containers hold.
// When the inventory is connected, the daemon has been up for a while and only now uses its first network of ours.
func (b *book) reset(snap docker.Snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replaying = true
	b.saw(snap)
	clear(b.grants)
	clear(b.released)
}

// saw notes what a snapshot says about the daemon; mu is held.
func (b *book) saw(snap docker.Snapshot) {
	if snap.Connected {
		b.known, b.replaying = true, false
	}
}

// decidable says whether a request can be answered: who runs is known, or it does not matter (see holder).
func (b *book) decidable(snap docker.Snapshot) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saw(snap)
	return b.known || b.replaying
}

// pool finds the pool by the network that Docker wants.
func (b *book) pool(cidr string) (spec.Pool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	want, err := netip.ParsePrefix(cidr)
	if err != nil {
		return spec.Pool{}, fmt.Errorf("find pool: %q is not a network; name a pool's own with --subnet: %s", cidr, b.poolNames())
	}
	for _, p := range b.state.Pools {
		if b.network(p) == want.Masked() {
			return p, nil
		}
	}
	return spec.Pool{}, fmt.Errorf("find pool: %v is not one of Berth's pools: %s", want, b.poolNames())
}

// network is that of the pool's Docker network.
func (b *book) network(p spec.Pool) netip.Prefix {
	if b.vlan {
		return p.VLAN().Masked()
	}
	return p.CIDR.Masked()
}

// poolNames lists the pools for people; mu is held.
func (b *book) poolNames() string {
	text := ""
	for _, p := range b.state.Pools {
		if text != "" {
			text += ", "
		}
		text += p.Name + " " + b.network(p).String()
	}
	if text == "" {
		return "there are none yet"
	}
	return text
}

// byName finds a pool by its name, which is also the pool id that Docker was given.
func (b *book) byName(name string) (spec.Pool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.state.Pools {
		if p.Name == name {
			return p, nil
		}
	}
	return spec.Pool{}, fmt.Errorf("find pool: %q is not one of Berth's pools: %s", name, b.poolNames())
}

// twin is the IPv6 address that comes with a; invalid when its pool has none. Docker does not know of the pool's IPv6 network
// and asks for no address in it: the endpoint has it, and whoever has a has it alone.
func (b *book) twin(a netip.Addr) netip.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.state.Pools {
		if t := p.Twin(a); t.IsValid() {
			return t
		}
	}
	return netip.Addr{}
}

// request grants a, or says who has it.
func (b *book) request(p spec.Pool, a netip.Addr, snap docker.Snapshot, now time.Time) error {
	if !p.CIDR.Contains(a) {
		return fmt.Errorf("grant address: %v is outside pool %s (%v)", a, p.Name, p.CIDR.Masked())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saw(snap)
	if by := b.holder(p, a, snap); by != "" {
		return fmt.Errorf("grant address: %v of pool %s is held by %s", a, p.Name, by)
	}
	b.grants[a] = &grant{seen: now}
	delete(b.released, a)
	return nil
}

// pick grants the next free address of the pool's blocks on this host.
func (b *book) pick(p spec.Pool, snap docker.Snapshot, now time.Time) (netip.Addr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saw(snap)
	blocks := b.blocks(p)
	if len(blocks) == 0 {
		return netip.Addr{}, fmt.Errorf("request address: name one with --ip; addresses of pool %s are leased by Berth's scheduler, and no block of it to this host", p.Name)
	}
	at := slices.IndexFunc(blocks, func(block netip.Prefix) bool { return block.Contains(b.last[p.Name]) })
	a := b.last[p.Name]
	if at < 0 {
		at, a = 0, blocks[0].Addr().Prev()
	}
	for range len(blocks) + 1 { // the first once more: what lies before the last one picked
		for a = a.Next(); blocks[at].Contains(a); a = a.Next() {
			if !b.taken(a) && b.holder(p, a, snap) == "" {
				b.grants[a] = &grant{seen: now}
				delete(b.released, a)
				b.last[p.Name] = a
				return a, nil
			}
		}
		at = (at + 1) % len(blocks)
		a = blocks[at].Addr().Prev()
	}
	return netip.Addr{}, fmt.Errorf("request address: all addresses of pool %s that this host may give out (%v) are in use", p.Name, blocks)
}

// taken says whether an address is for a seat; mu is held.
func (b *book) taken(a netip.Addr) bool {
	return slices.ContainsFunc(b.state.Taken, func(p netip.Prefix) bool { return p.Contains(a) })
}

// blocks are the parts of the pool that this host may give out, in order; mu is held.
func (b *book) blocks(p spec.Pool) []netip.Prefix {
	var out []netip.Prefix
	for _, block := range b.state.Blocks {
		if p.CIDR.Contains(block.Addr()) && block.Bits() >= p.CIDR.Bits() {
			out = append(out, block.Masked())
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return out
}

// holder says who holds a, "" when nobody does; mu is held.
//
// While the inventory is not connected its containers are the last known ones. They count, except while a daemon replays: it
// asks again for the addresses of the containers that run on (live-restore), before it answers its API, and must get them.
// Each gets it once: the second asker meets the grant.
func (b *book) holder(p spec.Pool, a netip.Addr, snap docker.Snapshot) string {
	switch a {
	case p.Gateway():
		return "the pool's gateway"
	case p.VLAN().Addr():
		return "the router of the pool's VLAN"
	case p.CIDR.Masked().Addr():
		return "the network itself"
	case broadcast(p.CIDR):
		return "the network's broadcast"
	}
	if by, ok := b.state.Host[a]; ok {
		return by
	}
	shown, by := docker.Container{}, false
	for _, c := range snap.Containers {
		if Holds(c, a) && !b.released[a][c.ID] {
			shown, by = c, true
			break
		}
	}
	if _, ok := b.grants[a]; ok {
		if by {
			return Holder(shown)
		}
		return "a container that is just being started"
	}
	if by && !b.replaying {
		return Holder(shown)
	}
	return ""
}

// ungrant takes a grant back that Docker has not heard of.
func (b *book) ungrant(a netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.grants, a)
}

// replays says that a daemon asks again for what its containers hold.
func (b *book) replays() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.replaying
}

// release gives an address back; it may be unknown.
func (b *book) release(a netip.Addr, snap docker.Snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.grants, a)
	for _, c := range snap.Containers {
		if Holds(c, a) {
			if b.released[a] == nil {
				b.released[a] = map[string]bool{}
			}
			b.released[a][c.ID] = true
		}
	}
}

// sweep compares with the inventory: grants that no container has shown for the time forget are dropped (the daemon died
// between asking and starting), releases that the inventory has caught up with are closed.
func (b *book) sweep(snap docker.Snapshot, now time.Time, forget time.Duration) (dropped []netip.Addr) {
	if !snap.Connected {
		return nil
	}
	b.mu.Lock()
	b.saw(snap)
	b.mu.Unlock()
	shown := map[netip.Addr]map[string]bool{}
	for _, c := range snap.Containers {
		for _, a := range c.Addresses {
			if Holds(c, a) {
				if shown[a] == nil {
					shown[a] = map[string]bool{}
				}
				shown[a][c.ID] = true
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for a, g := range b.grants {
		if shown[a] != nil {
			g.seen = now
		} else if now.Sub(g.seen) > forget {
			delete(b.grants, a)
			dropped = append(dropped, a)
		}
	}
	for a, ids := range b.released {
		for id := range ids {
			if !shown[a][id] {
				delete(ids, id)
			}
		}
		if len(ids) == 0 {
			delete(b.released, a)
		}
	}
	return dropped
}

// Holds says whether the container is on address a now. A stopped container holds nothing: Docker asks for its address
// again when it starts.
func Holds(c docker.Container, a netip.Addr) bool {
	if !c.Running {
		return false
	}
	for _, has := range c.Addresses {
		if has == a {
			return true
		}
	}
	return false
}

// Holder names a container for people.
func Holder(c docker.Container) string {
	if task := c.Labels[spec.LabelTask]; task != "" {
		return fmt.Sprintf("task %s (container %q)", task, c.Name)
	}
	return fmt.Sprintf("container %q", c.Name)
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}

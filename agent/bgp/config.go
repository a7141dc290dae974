// Package bgp is a host's BGP speaker: it announces the host's prefixes to its peers and tells what it learns from them. gobgp
// is behind it, and nothing else of Berth knows gobgp. It writes no kernel routes: whoever watches Learned does.
//
// What happens to routes when something dies, both ways, as the peers are treated the same:
//   - the process, by whatever signal: its sessions close without a notification, so peers keep its routes for the restart time (RFC 4724),
//     and the next process announces them again within it. It may be the peer's process, too, at the same time: see inquiry.go;
//   - the host: nothing comes from it any more, and its routes are gone when the hold time is over.
package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/spec"
)

// The times where nothing else is said. A dead host's routes are gone after HoldTime; a restarting process has
// spec.DefaultBGPRestart.
const (
	HoldTime    = 9 * time.Second
	minHoldTime = 3 * time.Second // RFC 4271, 4.2
)

// Config is everything that the speaker should be. The zero Config means no BGP at all.
type Config struct {
	AS         uint32
	RouterID   netip.Addr   // IPv4
	Listen     []netip.Addr // empty: all addresses
	ListenPort uint16
	ClusterID  netip.Addr    // valid: a route reflector; it reflects to the peers that are clients
	HoldTime   time.Duration // 0: HoldTime
	Peers      []Peer
}

// Peer is one session.
type Peer struct {
	Name        string // for people
	Address     netip.Addr
	Port        uint16
	AS          uint32
	Source      netip.Addr    // the local address; invalid: the kernel chooses
	Password    string        // of TCP MD5 (RFC 2385); secret
	RestartTime time.Duration // how long the peer keeps our routes while we are away; 0: spec.DefaultBGPRestart
	Client      bool          // we reflect to it
	TTLHops     uint8         // packets from farther away are not believed; 0: no such check
	AllowOwnAS  int           // how often our AS may stand in a path that it sends
	Router      bool          // it is no host of ours: it is asked whether it has just begun before we say that we have
}

// same says whether a session with the one is a session with the other: whether it is a router counts before the session only.
func (p Peer) same(o Peer) bool {
	p.Router = o.Router
	return p == o
}

// maxPassword is the kernel's limit of a TCP MD5 key.
const maxPassword = 80

// FromDocument makes the configuration of a host document's part. Passwords are read from the files that it names, and from
// passwordFile where it names none; the final line end is no part of them. A peer whose password cannot be read is left out, as a
// session without it could only fail; the error names all of them, and the rest can be used.
func FromDocument(b *spec.HostBGP, passwordFile string, read func(file string) ([]byte, error)) (Config, error) {
	if b == nil {
		return Config{}, nil
	}
	c := Config{AS: b.AS, RouterID: b.RouterID, Listen: b.Listen, ListenPort: b.ListenPort, ClusterID: b.ClusterID}
	var errs []error
	for _, p := range b.Peers {
		peer := Peer{
			Name: p.Name, Address: p.Address, Port: p.Port, AS: p.AS, Source: p.Source, RestartTime: p.RestartTime,
			Client: p.Client, TTLHops: p.TTLHops, AllowOwnAS: p.AllowOwnAS, Router: p.Router,
		}
		file := p.PasswordFile
		if file == "" {
			file = passwordFile
		}
		if file != "" {
			text, err := read(file)
			if err == nil {
				peer.Password = strings.TrimRight(string(text), "\r\n")
				err = checkPassword(peer.Password)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("read the password of BGP peer %s (%s): %w: there is no session with it until the file is right", p.Name, p.Address, err))
				continue
			}
		}
		c.Peers = append(c.Peers, peer)
	}
	return c, errors.Join(errs...)
}

func checkPassword(p string) error {
	switch {
	case p == "":
		return errors.New("the file is empty")
	case len(p) > maxPassword:
		return fmt.Errorf("%d bytes are too long for TCP MD5, which takes %d", len(p), maxPassword)
	}
	return nil
}

// off says whether there is to be no BGP.
func (c Config) off() bool { return c.AS == 0 }

// check says what cannot be used, all of it.
func (c Config) check() error {
	if c.off() {
		return nil
	}
	var errs []error
	if !c.RouterID.Is4() {
		errs = append(errs, fmt.Errorf("router id %s is not an IPv4 address", c.RouterID))
	}
	if c.HoldTime < minHoldTime || c.HoldTime%time.Second != 0 {
		errs = append(errs, fmt.Errorf("hold time %s: want whole seconds, at least %s", c.HoldTime, minHoldTime))
	}
	seen := map[netip.Addr]string{}
	for _, p := range c.Peers {
		switch other, twice := seen[p.Address]; {
		case !p.Address.IsValid() || p.AS == 0:
			errs = append(errs, fmt.Errorf("BGP peer %s needs an address and an AS", p.Name))
		case twice:
			errs = append(errs, fmt.Errorf("BGP peers %s and %s have the same address %s", other, p.Name, p.Address))
		}
		seen[p.Address] = p.Name
	}
	return errors.Join(errs...)
}

// normal fills in what is not said and sorts, so that equal configurations are equal values.
func (c Config) normal() Config {
	if c.off() {
		return Config{}
	}
	if c.HoldTime == 0 {
		c.HoldTime = HoldTime
	}
	if c.ListenPort == 0 {
		c.ListenPort = spec.DefaultBGPPort
	}
	c.Listen = slices.SortedFunc(slices.Values(c.Listen), netip.Addr.Compare)
	c.Peers = slices.Clone(c.Peers)
	for i := range c.Peers {
		p := &c.Peers[i]
		p.Address = p.Address.Unmap()
		if p.Port == 0 {
			p.Port = spec.DefaultBGPPort
		}
		if p.RestartTime == 0 {
			p.RestartTime = spec.DefaultBGPRestart
		}
	}
	return c
}

// sameProcess says whether the two differ in nothing but peers: then no session that stays has to be touched.
func (c Config) sameProcess(o Config) bool {
	return c.AS == o.AS && c.RouterID == o.RouterID && slices.Equal(c.Listen, o.Listen) && c.ListenPort == o.ListenPort &&
		c.ClusterID == o.ClusterID && c.HoldTime == o.HoldTime
}

// restartTime is the longest of all peers': after it, nobody is waited for.
func (c Config) restartTime() time.Duration {
	longest := time.Duration(0)
	for _, p := range c.Peers {
		longest = max(longest, p.RestartTime)
	}
	return longest
}

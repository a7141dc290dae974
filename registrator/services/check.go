package services

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"github.com/berth-project/berth/spec"
)

// Check is a service's one check. Exactly one of HTTP, TCP, GRPC and TTL is set.
type Check struct {
	HTTP              string // URL
	TCP               string // address:port
	TTL               time.Duration
	Interval, Timeout time.Duration
	Method            string        `json:",omitempty"` // of HTTP; "" for GET
	GRPC              string        `json:",omitempty"` // address:port
	GRPCUseTLS        bool          `json:",omitempty"`
	Verify            bool          `json:",omitempty"` // the certificate is verified
	DeregisterAfter   time.Duration `json:",omitempty"` // 0: the registrator's own
	// Status is the one at registration where it is not our own probe's, as Passing has it.
	Status string `json:"-"`
	// Passing is the status at registration, and the one that a TTL check is kept at. Known is false while our own probe
	// has no result, as after a restart of Berth: then a TTL check is left as it is. Neither is part of the definition.
	Passing bool `json:"-"`
	Known   bool `json:"-"`
}

// TTL is how long a TTL check stays passing without news of us: several times the interval at which it is refreshed, so
// that a restart of Berth does not show.
const TTL = 2 * time.Minute

// Consul's smallest interval, and Marathon's defaults.
const (
	minInterval     = time.Second
	defaultInterval = 60 * time.Second
	defaultTimeout  = 20 * time.Second
)

// Digest names the definition in the service's meta.
func (c Check) Digest() string {
	b, err := json.Marshal(c)
	if err != nil {
		return "" // strings and numbers always encode
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

// checkOf turns a health check into what Consul's agent can do itself. A command cannot be run from outside the
// container, so its result travels as a TTL check.
func checkOf(p spec.Probe, address netip.Addr, port int) *Check {
	target := netip.AddrPortFrom(address, uint16(cmp.Or(p.Port, port))).String()
	c := &Check{
		Interval: max(cmp.Or(p.Interval, defaultInterval), minInterval),
		Timeout:  cmp.Or(p.Timeout, defaultTimeout),
	}
	switch strings.TrimPrefix(p.Protocol, "MESOS_") {
	case "HTTP", "HTTPS":
		scheme := strings.ToLower(strings.TrimPrefix(p.Protocol, "MESOS_"))
		c.HTTP = scheme + "://" + target + "/" + strings.TrimPrefix(p.Path, "/")
	case "TCP":
		c.TCP = target
	default:
		c.TTL, c.Interval, c.Timeout = TTL, 0, 0
	}
	return c
}

// verdict is our own probe's result of the check. A check that is none of the seat's probes follows the whole task. What
// is not known counts as passing, as only a task that passed before gets here without results.
func verdict(state spec.HostState, seat spec.HostSeat, check spec.Probe) (passing, known bool) {
	results := state.Health[seat.TaskID]
	known = true
	for i, p := range seat.Probes {
		got := spec.CheckHealth{}
		if i < len(results) {
			got = results[i]
		}
		if p.Equal(check) {
			return got.Alive || !got.Known, got.Known
		}
		known = known && (got.Known || p.Reported)
	}
	return state.Healthy(seat) || !known, known
}

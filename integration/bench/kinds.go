package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/integration/rig"
)

// retry is the pause between two attempts to connect; the kernel refuses at once while nobody listens.
const retry = 2 * time.Millisecond

// banner connects again and again until the other side says that it speaks SSH, and returns when.
func banner(t *bench, address string) time.Time {
	t.Helper()
	dialer := net.Dialer{Timeout: 20 * time.Millisecond}
	tick := time.NewTicker(retry)
	defer tick.Stop()
	hello := make([]byte, 4)
	for began := time.Now(); time.Since(began) < 30*time.Second; <-tick.C {
		c, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(address, "22"))
		if err != nil {
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = c.Read(hello)
		c.Close()
		if err == nil && string(hello) == "SSH-" {
			return time.Now()
		}
	}
	t.Fatalf("no SSH banner from %s", address)
	return time.Time{}
}

// addresses hands out the addresses of a range, from its tenth on.
type addresses struct{ next netip.Addr }

func from(cidr netip.Prefix) addresses {
	a := addresses{cidr.Addr()}
	for range 10 {
		a.next = a.next.Next()
	}
	return a
}

func (a *addresses) take() string {
	taken := a.next
	a.next = taken.Next()
	return taken.String()
}

// plain is `docker run` with a network of Docker's own, a chosen address, and a folder of keys like the one that Berth mounts.
type plain struct {
	t       *bench
	e       *rig.Engine
	image   string
	keys    string
	network string
	free    addresses
}

func newPlain(t *bench, image string) *plain {
	dir, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		t.Fatalf("make a folder: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatalf("make a host key: %v", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatalf("make a host key: %v", err)
	}
	for name, text := range map[string][]byte{"ssh_host_ed25519_key": pem.EncodeToMemory(block), "authorized_keys": nil, "motd": []byte("bench\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatalf("write %s: %v", name, err)
		}
	}
	e := rig.MachineEngine(t)
	network, cidr := e.Network(24)
	return &plain{t, e, image, dir, network, from(cidr)}
}

// measure starts one container and takes the time from asking to its banner.
func (p *plain) measure() time.Duration { return p.start(nil, nil) }

// start is measure with options and arguments.
func (p *plain) start(options, arguments []string) time.Duration {
	address := p.free.take()
	words := slices.Concat([]string{"run", "-d", "--network", p.network, "--ip", address, "--volume", p.keys + ":/etc/berth:ro"}, options, []string{p.image}, arguments)
	began := time.Now()
	id := p.e.Docker(words...)
	took := banner(p.t, address).Sub(began)
	p.e.Docker("rm", "-f", id)
	return took
}

// viaBerth posts an app of one instance to a Berth that runs already.
type viaBerth struct {
	t     *bench
	b     *rig.Berth
	image string
	free  addresses
	n     int
}

func newViaBerth(t *bench, b *rig.Berth, image string) *viaBerth {
	// The client asks for the address before the instance is there. The kernel would repeat its ARP question only a second
	// later, and that second would be measured instead of Berth.
	file := "/proc/sys/net/ipv4/neigh/" + b.Bridge() + "/retrans_time_ms"
	rig.Eventually(t, 10*time.Second, "the pool's bridge is there", func() error { return os.WriteFile(file, []byte("2"), 0) })
	return &viaBerth{t: t, b: b, image: image, free: from(b.CIDR)}
}

// measure pins the instance's address, so that both kinds know beforehand where to connect.
func (v *viaBerth) measure() time.Duration {
	v.n++
	name, address := fmt.Sprintf("bench-%d", v.n), v.free.take()
	// A whole CPU, as plain docker run sets no quota: what is measured is Berth, not the quota.
	app := v.b.App(name, v.image, 1, rig.With("cpus", 1), rig.With("labels", map[string]string{"BERTH_IPS": address}))
	began := time.Now()
	v.b.Create(app)
	took := banner(v.t, address).Sub(began)
	v.b.Settle(30 * time.Second)
	v.b.Want(200, "DELETE", "/v2/apps"+v.b.AppID(name), nil, nil)
	v.b.Settle(30 * time.Second)
	return took
}

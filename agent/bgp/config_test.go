package bgp

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-project/berth/spec"
)

func TestFromDocument(t *testing.T) {
	addr := netip.MustParseAddr
	files := map[string]string{"/etc/berth/tor": "secret\r\n", "/etc/berth/default": "fleet", "/empty": "\n", "/long": strings.Repeat("x", 81)}
	read := func(file string) ([]byte, error) {
		if text, ok := files[file]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}
	peer := func(name, last, file string) spec.HostPeer {
		return spec.HostPeer{Name: name, Address: addr("192.0.2." + last), Port: 179, AS: 65000, PasswordFile: file, RestartTime: time.Minute, TTLHops: 1, AllowOwnAS: 1, Client: true, Source: addr("192.0.2.9"), Router: true}
	}
	b := &spec.HostBGP{AS: 64512, RouterID: addr("192.0.2.9"), ListenPort: 1179, Listen: []netip.Addr{addr("192.0.2.9")}, ClusterID: addr("224.0.0.1"),
		Peers: []spec.HostPeer{peer("tor", "1", "/etc/berth/tor"), peer("none", "2", "/none"), peer("empty", "3", "/empty"), peer("long", "4", "/long"), peer("mesh", "5", "")}}
	got, err := FromDocument(b, "/etc/berth/default", read)
	for _, part := range []string{"none (192.0.2.2): file does not exist", "empty (192.0.2.3): the file is empty", "long (192.0.2.4): 81 bytes are too long"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	want := Config{AS: 64512, RouterID: addr("192.0.2.9"), ListenPort: 1179, Listen: []netip.Addr{addr("192.0.2.9")}, ClusterID: addr("224.0.0.1")}
	for _, p := range []struct{ name, last, password string }{{"tor", "1", "secret"}, {"mesh", "5", "fleet"}} {
		want.Peers = append(want.Peers, Peer{Name: p.name, Address: addr("192.0.2." + p.last), Port: 179, AS: 65000, Source: addr("192.0.2.9"), Password: p.password,
			RestartTime: time.Minute, Client: true, TTLHops: 1, AllowOwnAS: 1, Router: true})
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	if c, err := FromDocument(nil, "", read); err != nil || !c.off() {
		t.Error("no BGP in the document is no BGP", c, err)
	}
	if c, err := FromDocument(&spec.HostBGP{AS: 1, Peers: []spec.HostPeer{{Name: "open"}}}, "", read); err != nil || len(c.Peers) != 1 {
		t.Error(c, err)
	}
}

func TestCheck(t *testing.T) {
	addr := netip.MustParseAddr
	ok := Config{AS: 1, RouterID: addr("192.0.2.1"), Peers: []Peer{{Name: "a", Address: addr("192.0.2.2"), AS: 2}}}
	if err := ok.normal().check(); err != nil {
		t.Error(err)
	}
	if err := (Config{RouterID: addr("::1")}).normal().check(); err != nil {
		t.Error("no AS means no BGP", err)
	}
	bad := Config{AS: 1, RouterID: addr("::1"), HoldTime: 2500 * time.Millisecond, Peers: []Peer{
		{Name: "a", Address: addr("192.0.2.2"), AS: 2}, {Name: "b", Address: addr("192.0.2.2"), AS: 2}, {Name: "c", AS: 2}, {Name: "d", Address: addr("192.0.2.4")}}}
	err := bad.normal().check()
	for _, part := range []string{"router id ::1", "hold time 2.5s", "peers a and b have the same address", "c needs an address", "d needs an address and an AS"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
}

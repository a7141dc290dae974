package calico

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-project/berth/spec"
)

var compareAddresses = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func TestDecodeFleet(t *testing.T) {
	in, err := os.ReadFile("testdata/bgp/fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(in)
	if err != nil {
		t.Fatal(err)
	}
	all, addr := false, netip.MustParseAddr
	want := Resources{
		Pools: []spec.Pool{pool("web", "10.88.0.0/16")},
		BGP: &spec.BGP{
			AS: 64600, ListenPort: 1179, ListenNodeIP: true, Mesh: true, MeshRestart: 90 * time.Second, MeshPassword: "/etc/berth/mesh.password",
			PerHost: map[string]spec.BGPListen{"host-3": {Port: 2179, NodeIP: &all}},
			Peers: []spec.BGPPeer{
				{Name: "tor", NodeSelector: "rack == 'r1'", Address: addr("192.0.2.1"), AS: 65546, PasswordFile: "/etc/berth/tor.password", RestartTime: time.Minute, TTLHops: 1, AllowOwnAS: 1},
				{Name: "office", Host: "host-1", Address: addr("2001:db8::1"), Port: 1179, AS: 65001, RestartTime: 2 * time.Minute, NoSource: true},
				{Name: "reflectors", NodeSelector: "all()", PeerSelector: "has(reflector)", RestartTime: 2 * time.Minute},
			},
			Hosts: []spec.BGPHost{{
				Name: "host-2", Labels: map[string]string{"reflector": "", "rack": "r1"}, IPv4: addr("192.0.2.12"), IPv6: addr("2001:db8::12"),
				AS: 64601, ClusterID: addr("224.0.0.1"),
			}},
		},
	}
	want.Hosts = want.BGP.Hosts
	if diff := cmp.Diff(want, got, compareAddresses); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeSaysNothingOfBGP(t *testing.T) {
	for in, want := range map[string]*spec.BGP{
		"":                              nil,
		yamlPool("web", "10.88.0.0/16"): nil,
		"apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: a}\n":                                          nil,
		"apiVersion: projectcalico.org/v3\nkind: BGPConfiguration\nmetadata: {name: default}\n":                        {AS: 64512, ListenPort: 179, Mesh: true, MeshRestart: 2 * time.Minute},
		"apiVersion: projectcalico.org/v3\nkind: BGPConfigurationList\nitems: []\n---\nkind: BGPPeerList\nitems: []\n": nil,
	} {
		got, err := Decode([]byte(in))
		if err != nil {
			t.Error(in, err)
		}
		if diff := cmp.Diff(want, got.BGP, compareAddresses); diff != "" {
			t.Error(in, diff)
		}
	}
}

// TestBadBGPCorpus holds every bad file against the errors written beside it.
func TestBadBGPCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/bgp/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yaml"), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(in)
			var faults Faults
			if !errors.As(err, &faults) || got.BGP != nil {
				t.Fatalf("got %v and error %v, want faults only", got, err)
			}
			holdGolden(t, strings.TrimSuffix(file, ".yaml")+".txt", faults.Error()+"\n")
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/bgp/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			in, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(in)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Decode(in)
		if err != nil || got.BGP == nil {
			return
		}
		for _, p := range got.BGP.Peers {
			if _, err := ParseSelector(p.NodeSelector); err != nil {
				t.Error(err)
			}
			if p.Name == "" || p.RestartTime < time.Second || p.RestartTime > longestRestart || p.PeerSelector == "" && (p.AS == 0 || !p.Address.IsGlobalUnicast()) {
				t.Errorf("unusable peer %+v", p)
			}
		}
		if got.BGP.AS == 0 || got.BGP.ListenPort == 0 {
			t.Errorf("unusable configuration %+v", got.BGP)
		}
	})
}

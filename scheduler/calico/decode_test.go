package calico

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

var update = flag.Bool("update", false, "rewrite the golden errors beside testdata/*.bad.yaml")

var comparePrefixes = cmpopts.EquateComparable(netip.Prefix{})

func pool(name, cidr string) spec.Pool {
	return spec.Pool{Name: name, CIDR: netip.MustParsePrefix(cidr)}
}

func TestDecodePools(t *testing.T) {
	nat, off := pool("web", "10.88.0.0/16"), pool("old", "10.90.0.0/30")
	nat.NATOutgoing, off.Disabled = true, true
	sized := nat
	sized.BlockSize = 26
	full := pool("web", "10.88.0.0/16")
	full.BlockSize, full.NodeSelector, full.Groups, full.CIDR6 = 28, "rack == 'r1'", []spec.AppID{"/prod", "/test/a"}, netip.MustParsePrefix("2001:db8:1::/64")
	for _, c := range []struct {
		name, in string
		want     []spec.Pool
	}{
		{"one", "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: web}\nspec: {cidr: 10.88.0.0/16, natOutgoing: true}\n", []spec.Pool{nat}},
		{"json", `{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"web"},"spec":{"cidr":"10.88.0.0/16","natOutgoing":true}}`, []spec.Pool{nat}},
		{"many, in their order", "# pools\n---\n" + yamlPool("web", "10.88.0.0/16, natOutgoing: true") + "--- # second\n" + yamlPool("old", "10.90.0.0/30, disabled: true") + "---\n# nothing\n...\n", []spec.Pool{nat, off}},
		{"windows line ends", strings.ReplaceAll("---\n"+yamlPool("a.b", "10.1.0.0/24")+"---\n"+yamlPool("c", "10.2.0.0/24"), "\n", "\r\n"), []spec.Pool{pool("a.b", "10.1.0.0/24"), pool("c", "10.2.0.0/24")}},
		{"fields that change nothing", yamlPool("web", "10.88.0.0/16, natOutgoing: true, blockSize: 26, ipipMode: Never, vxlanMode: Never, nodeSelector: all(), disableBGPExport: true, allowedUses: [Workload, Tunnel]"), []spec.Pool{sized}},
		{"all that a pool has, its twin first", "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: six, annotations: {berth/twin-of: web}}\nspec: {cidr: '2001:db8:1::/64', blockSize: 124, nodeSelector: all()}\n---\n" +
			"apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: web, annotations: {berth/groups: \"/prod, /test/a\"}}\nspec: {cidr: 10.88.0.0/16, blockSize: 28, nodeSelector: rack == 'r1'}\n", []spec.Pool{full}},
		{"neighbours do not overlap", yamlPool("a", "10.1.0.0/25") + "---\n" + yamlPool("b", "10.1.0.128/25"), []spec.Pool{pool("a", "10.1.0.0/25"), pool("b", "10.1.0.128/25")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := DecodePools([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, comparePrefixes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRouterOfVLAN(t *testing.T) {
	for text, want := range map[string]string{
		"10.88.64.1": "10.88.64.1/18", "10.88.0.1/16": "10.88.0.1/16", "10.88.0.1": "is not in a network with 10.88.64.0/18", "10.88.64.1/24": "is not in a network with",
		"10.99.0.1/16": "is not in a network with", "router": "is no IPv4 address", "fd00::1/64": "is no IPv4 address",
	} {
		in := strings.Replace(yamlPool("web", "10.88.64.0/18"), "name: web", `name: web, annotations: {berth/gateway: "`+text+`"}`, 1)
		got, err := DecodePools([]byte(in))
		if err != nil {
			if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "berth/gateway") {
				t.Errorf("%s: %v", text, err)
			}
		} else if got[0].Router.String() != want {
			t.Errorf("%s: %v", text, got[0].Router)
		}
	}
}

func yamlPool(name, spec string) string {
	return fmt.Sprintf("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: %s}\nspec: {cidr: %s}\n", name, spec)
}

func TestCalicoctlList(t *testing.T) {
	in, err := os.ReadFile("testdata/calicoctl-list.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodePools(in)
	if err != nil {
		t.Fatal(err)
	}
	first := pool("default-ipv4-ippool", "192.168.0.0/16")
	first.NATOutgoing, first.BlockSize = true, 26
	if diff := cmp.Diff([]spec.Pool{first, pool("lab", "10.10.0.0/24")}, got, comparePrefixes); diff != "" {
		t.Error(diff)
	}
}

// TestBadCorpus holds every bad file against the errors written beside it.
func TestBadCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yaml"), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pools, err := DecodePools(in)
			var faults Faults
			if !errors.As(err, &faults) || pools != nil {
				t.Fatalf("got %v and error %v, want faults only", pools, err)
			}
			holdGolden(t, strings.TrimSuffix(file, ".yaml")+".txt", faults.Error()+"\n")
		})
	}
}

// holdGolden holds got against the file, or writes it there.
func holdGolden(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

// TestOverlapIsFound: of any two ranges either both are accepted and apart, or the fault names both.
func TestOverlapIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := func(name string) netip.Prefix {
			bits := rapid.IntRange(widest, narrowest).Draw(t, name+" bits")
			addr := netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(0, 3).Draw(t, name)), byte(rapid.IntRange(0, 255).Draw(t, name+" third")), 0})
			return netip.PrefixFrom(addr, bits).Masked()
		}
		a, b := prefix("a"), prefix("b")
		_, err := DecodePools([]byte(yamlPool("pool-a", a.String()) + "---\n" + yamlPool("pool-b", b.String())))
		if !a.Overlaps(b) {
			if err != nil {
				t.Fatalf("%s and %s: %v", a, b, err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), `"pool-a"`) || !strings.Contains(err.Error(), `"pool-b"`) {
			t.Fatalf("%s overlaps %s, got %v", a, b, err)
		}
	})
}

func FuzzDecodePools(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		in, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		pools, err := DecodePools(in)
		if (err == nil) == (len(pools) == 0) {
			t.Fatalf("%d pools and error %v", len(pools), err)
		}
		for _, p := range pools {
			if p.CIDR != p.CIDR.Masked() || !p.CIDR.Contains(p.Gateway()) || len(p.Bridge()) > 15 {
				t.Errorf("unusable pool %+v", p)
			}
		}
	})
}

package spec

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestZabbixHost(t *testing.T) {
	long := AppID("/" + strings.Repeat("a", 60) + "/" + strings.Repeat("b", 60) + "/web")
	for _, c := range []struct {
		cluster string
		seat    SeatID
		want    string
	}{
		{"", SeatID{App: "/web", Index: 0}, "berth.web.0"},
		{"", SeatID{App: "/prod/web", Index: 12}, "berth.prod_web.12"},
		{"paris", SeatID{App: "/a/b-c", Index: 1}, "paris.a_b-c.1"},
		{"paris", SeatID{App: "/a-b/c", Index: 1}, "paris.a-b_c.1"},
		{"", SeatID{App: long, Index: 3}, "berth." + strings.Repeat("a", 60) + "_" + strings.Repeat("b", 49) + "__" + HostnameSuffix(long) + ".3"},
	} {
		if got := c.seat.ZabbixHost(c.cluster); got != c.want {
			t.Errorf("%s in %q is %s, want %s", c.seat, c.cluster, got, c.want)
		}
	}
	for name, ok := range map[string]bool{"berth": true, "Paris-2": true, "": false, "a.b": false, "a_b": false, "a b": false, strings.Repeat("x", 33): false} {
		if err := CheckCluster(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestZabbixHosts: names are ones that Zabbix takes, and no two seats share one.
func TestZabbixHosts(t *testing.T) {
	valid := regexp.MustCompile(`^[0-9A-Za-z_. -]{1,128}$`) // Zabbix's own rule
	segment := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,3}[a-z0-9])?(\.[a-z0-9]{1,2})?|[ab]{40,63}`)
	seat := rapid.Custom(func(t *rapid.T) SeatID {
		return SeatID{App: AppID("/" + strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, "id"), "/")), Index: rapid.IntRange(0, 1200).Draw(t, "seat")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := seat.Draw(t, "a"), seat.Draw(t, "b")
		for _, s := range []SeatID{a, b} {
			if name := s.ZabbixHost(""); !valid.MatchString(name) {
				t.Fatalf("%s is %q", s, name)
			}
		}
		if a != b && a.ZabbixHost("") == b.ZabbixHost("") {
			t.Fatalf("%s and %s are both %s", a, b, a.ZabbixHost(""))
		}
	})
}

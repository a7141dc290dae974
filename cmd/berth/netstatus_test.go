package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/agent"
	"github.com/berth-project/berth/agent/bgp"
)

func TestPrintNet(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	a := netip.MustParseAddr
	s := agent.NetStatus{
		Host: "h1", Mode: "routed", Now: now, Docker: true,
		Document: agent.DocumentStatus{Source: "http://10.0.0.5:8080", Version: 7, Received: now.Add(-10 * time.Minute), Contact: now.Add(-12 * time.Second), Trouble: "503"},
		Pools: []agent.PoolStatus{
			{Name: "blue", CIDR: netip.MustParsePrefix("10.1.0.0/16"), CIDR6: netip.MustParsePrefix("fd00::/64")},
			{Name: "red", CIDR: netip.MustParsePrefix("10.2.0.0/16"), NotReady: "in the way"},
		},
		Blocks: []netip.Prefix{netip.MustParsePrefix("10.1.4.0/26")},
		Endpoints: []agent.EndpointStatus{
			{Container: "one", Addresses: []netip.Addr{a("10.1.4.0"), a("fd00::400")}, MAC: "02:42:0a:01:04:00", Link: "brt00000000000", Egress: 1_500_000, Spoofed: 3},
			{Container: "two", Addresses: []netip.Addr{a("10.1.4.1")}, MAC: "02:42:0a:01:04:01", Link: "brt00000000001", Rate: 1e9, Fault: "no link"},
		},
		BGP: &agent.BGPStatus{AS: 64512, RouterID: a("192.0.2.1"), Announced: []netip.Prefix{{}}, Learned: 4, Sessions: []bgp.Session{
			{Name: "rack", Address: a("192.0.2.9"), AS: 65001, State: "established", Since: now.Add(-3 * time.Hour), Received: 4, Sent: 1},
			{Name: "spine", Address: a("192.0.2.8"), AS: 65001, State: "active", LastError: "refused"},
		}},
	}
	var out bytes.Buffer
	if err := (&cli{out: &out, output: "table"}).printNet(s); err != nil {
		t.Fatal(err)
	}
	want := strings.TrimPrefix(`
host h1, mode routed
document: version 7, for 10m, from http://10.0.0.5:8080, asked 12s ago
no newer document: 503

POOL  NETWORK      IPV6      BLOCKS HERE  STATE
blue  10.1.0.0/16  fd00::/64  10.1.4.0/26  ready
red   10.2.0.0/16  -         -            in the way

ADDRESS   IPV6       CONTAINER  LINK            MAC                IN     OUT       FORGED  FAULT
10.1.4.0  fd00::400  one        brt00000000000  02:42:0a:01:04:00  -      1500kbit  3       -
10.1.4.1  -          two        brt00000000001  02:42:0a:01:04:01  1Gbit  -         -       no link

BGP: AS 64512, router 192.0.2.1, 1 prefixes announced, 4 learned, not all peers were heard yet

PEER   ADDRESS    AS     STATE        FOR  RECEIVED  SENT  LAST ERROR
rack   192.0.2.9  65001  established  3h   4         1     -
spine  192.0.2.8  65001  active       -    0         0     refused
`, "\n")
	if got := fields(out.String()); got != fields(want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	if err := (&cli{out: &out, output: "table"}).printNet(agent.NetStatus{Host: "h1", Mode: "bridge", Now: now, Document: agent.DocumentStatus{Source: "/etc/h.json"}}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "host h1, mode bridge\ndocument: none yet, from /etc/h.json\n" {
		t.Errorf("with nothing: %s", got)
	}
}

// fields is the text with each run of spaces as one.
func fields(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(out, "\n")
}

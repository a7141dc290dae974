package hostnet

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAnnounce(t *testing.T) {
	for _, c := range []struct{ name, blocks, seats, want string }{
		{"nothing", "", "", ""},
		{"own block", "10.88.1.0/26", "10.88.1.1 10.88.1.63", "10.88.1.0/26"},
		{"borrowed on top", "10.88.1.0/26", "10.88.1.1 10.88.1.64 10.88.9.9", "10.88.1.0/26 10.88.1.64/32 10.88.9.9/32"},
		{"no block", "", "10.88.1.2 10.88.1.3 10.88.1.2", "10.88.1.2/32 10.88.1.3/32"},
		{"halves", "10.88.1.64/26 10.88.1.0/26", "", "10.88.1.0/25"},
		{"neighbours of other parents", "10.88.1.64/26 10.88.1.128/26", "", "10.88.1.64/26 10.88.1.128/26"},
		{"four, one of them half", "10.88.0.0/26 10.88.0.64/26 10.88.0.128/26 10.88.0.192/27 10.88.0.224/27", "", "10.88.0.0/24"},
		{"inside another", "10.88.1.0/26 10.88.1.0/24 10.88.1.0/24", "10.88.1.200", "10.88.1.0/24"},
		{"not a network", "10.88.1.5/24", "", "10.88.1.0/24"},
		{"IPv6 beside IPv4", "10.88.1.0/26 2001:db8::/122", "2001:db8::1 2001:db8::40 ::ffff:10.88.1.1", "10.88.1.0/26 2001:db8::/122 2001:db8::40/128"},
		{"everything", "0.0.0.0/1 128.0.0.0/1", "10.0.0.1", "0.0.0.0/0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var blocks []netip.Prefix
			for _, b := range strings.Fields(c.blocks) {
				blocks = append(blocks, netip.MustParsePrefix(b))
			}
			var seats []netip.Addr
			for _, s := range strings.Fields(c.seats) {
				seats = append(seats, netip.MustParseAddr(s))
			}
			var got []string
			for _, p := range Announce(append(blocks, netip.Prefix{}), append(seats, netip.Addr{})) {
				got = append(got, p.String())
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

// TestAnnounceSaysExactlyTheSame: every address of blocks and seats is announced once, and no other; no order matters.
func TestAnnounceSaysExactlyTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := func(name string) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 88, 0, byte(rapid.IntRange(0, 255).Draw(t, name))})
		}
		var blocks []netip.Prefix
		for range rapid.IntRange(0, 6).Draw(t, "blocks") {
			blocks = append(blocks, netip.PrefixFrom(address("block"), rapid.IntRange(25, 31).Draw(t, "bits")).Masked())
		}
		var seats []netip.Addr
		for range rapid.IntRange(0, 6).Draw(t, "seats") {
			seats = append(seats, address("seat"))
		}
		got := Announce(blocks, seats)
		for i := range 256 {
			a := netip.AddrFrom4([4]byte{10, 88, 0, byte(i)})
			times, single := 0, false
			for _, p := range got {
				if p.Contains(a) {
					times++
					single = single || p.IsSingleIP()
				}
			}
			inBlock := slices.ContainsFunc(blocks, func(p netip.Prefix) bool { return p.Contains(a) })
			want := 0
			if inBlock || slices.Contains(seats, a) {
				want = 1
			}
			if times != want || single == inBlock && want == 1 {
				t.Fatalf("%s is announced %d times by %v", a, times, got)
			}
		}
		random := rand.New(rand.NewPCG(1, 2))
		random.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
		random.Shuffle(len(seats), func(i, j int) { seats[i], seats[j] = seats[j], seats[i] })
		if again := Announce(blocks, seats); !slices.Equal(again, got) {
			t.Fatalf("%v in another order is %v", got, again)
		}
	})
}

package router

import (
	"net"
	"net/netip"
	"reflect"
	"testing"
)

func TestARP(t *testing.T) {
	m := arpMessage{arpReply, netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.1.2.4"), net.HardwareAddr{2, 0x42, 10, 1, 2, 3}, everybody}
	f := m.frame()
	if len(f) != frameSize || net.HardwareAddr(f[:6]).String() != "ff:ff:ff:ff:ff:ff" || net.HardwareAddr(f[6:12]).String() != "02:42:0a:01:02:03" {
		t.Errorf("frame % x", f)
	}
	got, ok := readARP(append(f, make([]byte, 18)...)) // padded, as Ethernet wants
	if !ok || !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v", got)
	}
	for name, b := range map[string][]byte{"short": f[:41], "IPv4": append([]byte{12: 8, 13: 0}, f[14:]...), "nothing": nil} {
		if _, ok := readARP(b); ok {
			t.Errorf("%s is taken for ARP", name)
		}
	}
}

func FuzzReadARP(f *testing.F) {
	f.Add(arpMessage{arpRequest, netip.IPv4Unspecified(), netip.MustParseAddr("10.1.2.4"), net.HardwareAddr{2, 0, 0, 0, 0, 1}, make(net.HardwareAddr, 6)}.frame())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := readARP(b)
		if !ok {
			return
		}
		if again, ok := readARP(m.frame()); !ok || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v became %+v", m, again)
		}
	})
}

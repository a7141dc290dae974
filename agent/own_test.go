package agent

import (
	"net/netip"
	"testing"
)

func TestOwn(t *testing.T) {
	for _, api := range []string{"unix:///run/berth/api.sock", "http://127.0.0.1:8080", "http://[::1]:8080", "", "http://"} {
		if a := sourceTo(api); a.IsValid() {
			t.Errorf("towards %s: %v", api, a)
		}
	}
	n := &Net{o: NetOptions{Own: []netip.Addr{addr("192.0.2.7")}, Source: func(string) netip.Addr { return addr("192.0.2.8") }}}
	if got := n.own(); len(got) != 1 || got[0] != addr("192.0.2.7") {
		t.Errorf("what an operator said: %v", got)
	}
	n.o.Own = nil
	if got := n.own(); len(got) != 1 || got[0] != addr("192.0.2.8") {
		t.Errorf("what the kernel said: %v", got)
	}
	n.o.Source = func(string) netip.Addr { return netip.Addr{} }
	if got := n.own(); got != nil {
		t.Errorf("when nobody knows: %v", got)
	}
}

package bgp

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	wire "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// openOf is a router's OPEN, as it is on the wire.
func openOf(t *testing.T, caps ...wire.ParameterCapabilityInterface) []byte {
	t.Helper()
	m, err := wire.NewBGPOpenMessage(65000, 9, netip.MustParseAddr("192.0.2.1"), []wire.OptionParameterInterface{wire.NewOptionParameterCapability(caps)})
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func gracefulRestart(anew bool) wire.ParameterCapabilityInterface {
	return wire.NewCapGracefulRestart(anew, false, 120, []*wire.CapGracefulRestartTuple{wire.NewCapGracefulRestartTuple(wire.RF_IPv4_UC, anew)})
}

func TestReadOpen(t *testing.T) {
	keepalive, err := wire.NewBGPKeepAliveMessage().Serialize()
	if err != nil {
		t.Fatal(err)
	}
	refusal, err := wire.NewBGPNotificationMessage(wire.BGP_ERROR_CEASE, wire.BGP_ERROR_SUB_CONNECTION_REJECTED, nil).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	open := openOf(t, wire.NewCapRouteRefresh(), gracefulRestart(true))
	short := bytes.Clone(keepalive)
	short[16], short[17] = 0, 3
	for _, c := range []struct {
		name string
		text []byte
		anew bool
		err  string
	}{
		{"it has just begun", open, true, ""},
		{"it has not", openOf(t, wire.NewCapRouteRefresh(), gracefulRestart(false)), false, ""},
		{"it knows no graceful restart", openOf(t), false, ""},
		{"it says more", append(bytes.Clone(open), keepalive...), true, ""},
		{"it refuses", refusal, false, "code 6, subcode 5"},
		{"another message", keepalive, false, "type 4 comes first"},
		{"a part", open[:len(open)-1], false, "unexpected EOF"},
		{"nothing", nil, false, "EOF"},
		{"a message that is shorter than its head", short, false, "3 bytes"},
		{"no BGP", bytes.Repeat([]byte("SSH-2.0-"), 8), false, "bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readOpen(bytes.NewReader(c.text))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want %q", err, c.err)
				}
				return
			}
			if err != nil || restarts(got) != c.anew {
				t.Errorf("%+v, %v, want %t", got, err, c.anew)
			}
		})
	}
}

// TestInquire: a router that is not ready yet is asked again, is told nothing, and has let go of the connection when the answer is there.
func TestInquire(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	told := make(chan int, 1)
	go func() {
		if first, err := l.Accept(); err == nil {
			first.Close()
		}
		second, err := l.Accept()
		if err != nil {
			return
		}
		defer second.Close()
		_, _ = second.Write(openOf(t, gracefulRestart(true)))
		n, _ := second.Read(make([]byte, 1))
		told <- n
	}()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	in := newInbox()
	q := inquire(Peer{Address: at.Addr(), Port: at.Port(), Source: at.Addr()}, time.Minute, in)
	defer q.cancel()
	var events []peerEvent
	for len(events) == 0 || events[len(events)-1].kind != wasAsked {
		select {
		case <-in.wake:
			events = append(events, in.takeEvents()...)
		case <-time.After(10 * time.Second):
			t.Fatalf("no answer: %+v", events)
		}
	}
	if len(events) != 2 || events[0].kind != connectFailure || events[0].asked != q || events[0].reason == "" || !events[1].anew || events[1].asked != q {
		t.Errorf("%+v", events)
	}
	select {
	case n := <-told:
		if n != 0 {
			t.Error("the router was told something")
		}
	default:
		t.Error("the router still has the connection")
	}
}

// TestInquireGivesUp: whoever was away for the hold time has nothing of ours to keep.
func TestInquireGivesUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	in := newInbox()
	q := inquire(Peer{Address: at.Addr(), Port: at.Port()}, time.Millisecond, in)
	defer q.cancel()
	for {
		select {
		case <-in.wake:
		case <-time.After(10 * time.Second):
			t.Fatal("it asks on")
		}
		for _, e := range in.takeEvents() {
			if e.kind == wasAsked {
				if !e.anew {
					t.Errorf("%+v", e)
				}
				return
			}
			if !strings.Contains(e.reason, "refused") {
				t.Errorf("%+v", e)
			}
		}
	}
}

package bgp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	wire "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"golang.org/x/sys/unix"
)

// A speaker that begins anew must not say so to a router that begins anew, too. It would with the Restart State bit, at which the router
// does not wait for what we announce (RFC 4724, 4.1): at the end of its recovery BIRD took the routes to this host out of the kernel,
// and had them back only when they arrived, up to a second later. Without the bit it waits for our End-of-RIB, and nobody waits for
// ever, as towards such a router we wait for nothing. A router that lived on, however, must hear that we kept on forwarding, or it
// drops our routes at once; gobgp says both with one switch, before it has heard the router. So each router is asked before the
// session: as both sides of a connection send their OPEN at once, we hear the router's, say nothing, and close.

const (
	inquiryPause   = 250 * time.Millisecond // between two attempts
	inquiryConnect = time.Second            // for a connection
	inquiryListen  = 3 * time.Second        // for what the router says then
)

// inquiry is the question, until it is answered.
type inquiry struct{ cancel context.CancelFunc }

// inquire asks until there is an answer. Who cannot be asked for the hold time was away, or has forgotten us by now: either way
// there is nothing of ours that it must be told to keep.
func inquire(p Peer, hold time.Duration, in *inbox) *inquiry {
	ctx, cancel := context.WithCancel(context.Background())
	q := &inquiry{cancel}
	go func() {
		over, tick := time.After(hold), time.NewTicker(inquiryPause)
		defer tick.Stop()
		for {
			anew, err := askAnew(ctx, p)
			if err == nil {
				in.happened(peerEvent{peer: p.Address, kind: wasAsked, asked: q, anew: anew})
				return
			}
			in.happened(peerEvent{peer: p.Address, kind: connectFailure, asked: q, reason: err.Error()})
			select {
			case <-ctx.Done():
				return
			case <-over:
				in.happened(peerEvent{peer: p.Address, kind: wasAsked, asked: q, anew: true})
				return
			case <-tick.C:
			}
		}
	}()
	return q
}

// askAnew asks once whether the router has just begun. One that takes the connection and waits for us to speak first has lived on, as
// far as we know.
func askAnew(ctx context.Context, p Peer) (bool, error) {
	d := net.Dialer{Timeout: inquiryConnect, KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error { return prepare(c, p) }}
	if p.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.Source, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(p.Address, p.Port).String())
	if err != nil {
		return false, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(inquiryListen))
	open, err := readOpen(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the peer's OPEN: %w", err)
	}
	// BIRD takes one connection from each address: it must have let go of this one before the next comes.
	if tcp, ok := conn.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
	return restarts(open), nil
}

// prepare gives a socket what gobgp gives its own: the password, and packets that a router believes to come from its link.
func prepare(c syscall.RawConn, p Peer) error {
	var err error
	outer := c.Control(func(fd uintptr) {
		level, option := unix.IPPROTO_IP, unix.IP_TTL
		if p.Address.Is6() {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
		}
		if err = unix.SetsockoptInt(int(fd), level, option, 255); err != nil || p.Password == "" {
			return
		}
		key := unix.TCPMD5Sig{Keylen: uint16(len(p.Password))}
		copy(key.Key[:], p.Password)
		if a := p.Address; a.Is6() {
			key.Addr.Family = unix.AF_INET6
			copy(key.Addr.Data[6:], a.AsSlice()) // after the port and the flow
		} else {
			key.Addr.Family = unix.AF_INET
			copy(key.Addr.Data[2:], a.AsSlice()) // after the port
		}
		err = unix.SetsockoptTCPMD5Sig(int(fd), unix.IPPROTO_TCP, unix.TCP_MD5SIG, &key)
	})
	return errors.Join(outer, err)
}

// readOpen reads one message, which must be an OPEN.
func readOpen(r io.Reader) (*wire.BGPOpen, error) {
	head := make([]byte, wire.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(head[16:]))
	if length < len(head) || length > wire.BGP_MAX_MESSAGE_LENGTH {
		return nil, fmt.Errorf("a message of %d bytes", length)
	}
	message := append(head, make([]byte, length-len(head))...)
	if _, err := io.ReadFull(r, message[wire.BGP_HEADER_LENGTH:]); err != nil {
		return nil, err
	}
	m, err := wire.ParseBGPMessage(message)
	if err != nil {
		return nil, err
	}
	switch body := m.Body.(type) {
	case *wire.BGPOpen:
		return body, nil
	case *wire.BGPNotification:
		return nil, fmt.Errorf("it refuses with code %d, subcode %d", body.ErrorCode, body.ErrorSubcode)
	}
	return nil, fmt.Errorf("a message of type %d comes first", m.Header.Type)
}

// restartState is the Restart State bit of the graceful restart capability (RFC 4724, 3), in gobgp's place.
const restartState = 0x08

func restarts(open *wire.BGPOpen) bool {
	for _, p := range open.OptParams {
		caps, ok := p.(*wire.OptionParameterCapability)
		if !ok {
			continue
		}
		for _, c := range caps.Capability {
			if gr, ok := c.(*wire.CapGracefulRestart); ok && gr.Flags&restartState != 0 {
				return true
			}
		}
	}
	return false
}

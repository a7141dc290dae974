package router

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/agent/hostnet"
)

// The two operations of ARP (RFC 826).
const (
	arpRequest = 1
	arpReply   = 2
)

// frameSize is that of an ARP message for IPv4 in an Ethernet frame, without its padding.
const frameSize = 42

// everybody is Ethernet's broadcast address.
var everybody = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// arpMessage is an ARP message for IPv4.
type arpMessage struct {
	op                   uint16
	sender, target       netip.Addr
	senderMAC, targetMAC net.HardwareAddr
}

// frame is the message as everybody in the VLAN gets it, from the sender's hardware address.
func (m arpMessage) frame() []byte {
	b := make([]byte, 0, frameSize)
	b = append(append(b, everybody...), m.senderMAC...)
	b = append(b, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4) // ARP, Ethernet, IPv4, their lengths
	b = binary.BigEndian.AppendUint16(b, m.op)
	b = append(append(b, m.senderMAC...), m.sender.AsSlice()...)
	return append(append(b, m.targetMAC...), m.target.AsSlice()...)
}

// readARP decodes a frame; false: it is none of ARP for IPv4.
func readARP(b []byte) (arpMessage, bool) {
	if len(b) < frameSize || !bytes.Equal(b[12:20], []byte{0x08, 0x06, 0, 1, 0x08, 0, 6, 4}) {
		return arpMessage{}, false
	}
	return arpMessage{
		op: binary.BigEndian.Uint16(b[20:]), senderMAC: bytes.Clone(b[22:28]), sender: netip.AddrFrom4([4]byte(b[28:32])),
		targetMAC: bytes.Clone(b[32:38]), target: netip.AddrFrom4([4]byte(b[38:42])),
	}, true
}

// Announce tells the VLAN who is where (gratuitous ARP, RFC 5227): frames come from the container's hardware address and leave by the
// interface that it is behind, so switches learn the way and neighbours the address. Both forms are sent, as some systems listen to one only.
func (r *Router) Announce(ctx context.Context, claims []hostnet.Claim) error {
	var errs []error
	wires := map[string]*wire{}
	for _, c := range claims {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		w, known := wires[c.Parent]
		if !known {
			var err error
			if w, err = openWire(c.Parent); err != nil {
				errs = append(errs, err)
			} else {
				defer w.close()
			}
			wires[c.Parent] = w
		}
		mac, err := net.ParseMAC(c.MAC)
		if err != nil || w == nil {
			errs = append(errs, err)
			continue
		}
		for _, m := range []arpMessage{
			{arpRequest, c.Address, c.Address, mac, make(net.HardwareAddr, 6)}, {arpReply, c.Address, c.Address, mac, everybody},
		} {
			if err := w.send(m.frame()); err != nil {
				errs = append(errs, fmt.Errorf("announce %v on %s: %w", c.Address, c.Parent, err))
			}
		}
	}
	return errors.Join(errs...)
}

// The times of a probe. A switched network answers in well under a millisecond; a busy machine may need some more.
const (
	probes     = 2
	probeEvery = 75 * time.Millisecond
)

// Occupied asks the VLAN behind the interface who has the address, and gives the hardware address of who answers; "": nobody does.
// This host's containers do not hear it. It asks as one who has no address yet (RFC 5227), so that nobody learns anything wrong.
func (r *Router) Occupied(ctx context.Context, parent string, a netip.Addr) (string, error) {
	w, err := openWire(parent)
	if err != nil {
		return "", err
	}
	defer w.close()
	question := arpMessage{arpRequest, netip.IPv4Unspecified(), a, w.link.HardwareAddr, make(net.HardwareAddr, 6)}.frame()
	buffer := make([]byte, 2048)
	for range probes {
		if err := w.send(question); err != nil {
			return "", fmt.Errorf("ask %s for %v: %w", parent, a, err)
		}
		for end := time.Now().Add(probeEvery); ; {
			n, err := w.receive(buffer, time.Until(end))
			if err != nil {
				return "", fmt.Errorf("ask %s for %v: %w", parent, a, err)
			}
			if n == 0 {
				break
			}
			if m, ok := readARP(buffer[:n]); ok && m.sender == a && !bytes.Equal(m.senderMAC, w.link.HardwareAddr) {
				return m.senderMAC.String(), nil
			}
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
	}
	return "", nil
}

// wire is an interface as one that ARP frames are sent to and come from.
type wire struct {
	fd   int
	link *net.Interface
	to   unix.SockaddrLinklayer
}

func openWire(name string) (*wire, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	protocol := binary.NativeEndian.Uint16([]byte{0x08, 0x06}) // of ARP, in the network's order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(protocol))
	if err != nil {
		return nil, fmt.Errorf("listen to interface %s: %w", name, err)
	}
	w := &wire{fd: fd, link: link, to: unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index, Halen: 6}}
	copy(w.to.Addr[:], everybody)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen to interface %s: %w", name, err)
	}
	return w, nil
}

func (w *wire) send(frame []byte) error { return unix.Sendto(w.fd, frame, 0, &w.to) }

// receive waits for a frame; 0: none came in time.
func (w *wire) receive(b []byte, wait time.Duration) (int, error) {
	if wait <= 0 {
		return 0, nil
	}
	timeout := unix.NsecToTimeval(max(wait, time.Millisecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return 0, err
	}
	n, _, err := unix.Recvfrom(w.fd, b, 0)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	return max(n, 0), err
}

func (w *wire) close() { unix.Close(w.fd) }

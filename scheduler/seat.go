package scheduler

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/spec"
)

// seat is the lasting identity behind a seat number, made when it is first used.
func (s *Scheduler) seat(id spec.SeatID, host string) spec.Seat {
	seat, ok := s.state.Seats[id]
	if ok && seat.LastHost == host {
		return seat
	}
	if !ok {
		seat = spec.Seat{ID: id, Hostname: s.hostname(id), HostKeys: []spec.HostKey{s.hostKey(id)}}
	}
	seat.LastHost = host
	s.putSeat(seat)
	return seat
}

// hostname is the seat's name, with a digest of the app where another seat has it already.
func (s *Scheduler) hostname(id spec.SeatID) string {
	name := id.Hostname()
	if owner, taken := s.hostnames[name]; taken && owner != id {
		head, tail, _ := strings.Cut(name, ".")
		suffix := "-" + spec.HostnameSuffix(id.App)
		if len(head)+len(suffix) > 63 {
			head = head[:63-len(suffix)]
		}
		if name = head + suffix; tail != "" && len(name)+1+len(tail) <= 63 {
			name += "." + tail
		}
	}
	return name
}

// hostKey makes the seat's SSH host key: it stays for the seat's life, so known_hosts stays true.
func (s *Scheduler) hostKey(id spec.SeatID) spec.HostKey {
	priv := s.keys.take()
	if priv == nil {
		var err error
		if _, priv, err = ed25519.GenerateKey(s.opts.Rand); err != nil {
			panic(fmt.Sprintf("no randomness for the host key of %s: %v", id, err)) // the kernel's source does not fail
		}
	}
	block, err := ssh.MarshalPrivateKey(priv, id.Hostname())
	if err != nil {
		panic(fmt.Sprintf("encode the host key of %s: %v", id, err)) // ed25519 keys always can be
	}
	public, err := ssh.NewPublicKey(priv.Public())
	if err != nil {
		panic(fmt.Sprintf("encode the public host key of %s: %v", id, err))
	}
	return spec.HostKey{
		Type: "ed25519", Private: pemText(block.Type, block.Bytes), Public: public.Type() + " " + base64.StdEncoding.EncodeToString(public.Marshal()),
	}
}

// pemText is a block without headers in PEM (RFC 7468). encoding/pem makes several times as much garbage as text, which shows when
// thousands of seats a second are new.
func pemText(kind string, data []byte) string {
	const width = 64
	text := base64.StdEncoding.EncodeToString(data)
	var out strings.Builder
	out.Grow(len(text) + len(text)/width + 2*len(kind) + 40)
	out.WriteString("-----BEGIN " + kind + "-----\n")
	for ; len(text) > width; text = text[width:] {
		out.WriteString(text[:width])
		out.WriteByte('\n')
	}
	out.WriteString(text + "\n-----END " + kind + "-----\n")
	return out.String()
}

// uuid is a random id.
func (s *Scheduler) uuid() string { return s.random().String() }

func (s *Scheduler) random() uuid.UUID {
	u, err := uuid.NewRandomFromReader(s.opts.Rand)
	if err != nil {
		panic(fmt.Sprintf("no randomness for an id: %v", err))
	}
	return u
}

// timedUUID is an id that begins with the time (version 7 of RFC 9562), as Marathon's instance ids have the time in them, too: what
// is launched together lies together in the store, and a batch of updates changes few of its pages.
func (s *Scheduler) timedUUID(now time.Time) string {
	u := s.random()
	binary.BigEndian.PutUint64(u[:], uint64(now.UnixMilli())<<16|0x7000|uint64(u[6]&0xf)<<8|uint64(u[7]))
	return u.String()
}

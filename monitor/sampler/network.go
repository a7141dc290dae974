package sampler

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/berth-project/berth/internal/cgroup"
	"github.com/berth-project/berth/monitor/figures"
)

// maxInterfaces bounds those of one container; one that may make interfaces can make as many as it likes.
const maxInterfaces = 32

// readNetwork reads the counters of a network namespace.
func (s *Sampler) readNetwork(dir string, f *figures.Figures) error {
	b, err := s.file(dir + "/dev")
	if len(b) == 0 { // of one that is too large, the beginning is what counts
		return fmt.Errorf("read the network counters: %w", cmp.Or(err, io.ErrUnexpectedEOF))
	}
	f.Networks = parseNetDev(b)
	// A kernel without IPv6 has no sockstat6; of one without either nothing is known.
	for _, name := range []string{"/sockstat", "/sockstat6"} {
		if b, err := s.file(dir + name); err == nil {
			addSockets(&f.Sockets, b)
		}
	}
	return nil
}

// file reads a file below /proc into the buffer; what it returns counts until the next call.
func (s *Sampler) file(path string) ([]byte, error) {
	b, err := cgroup.ReadFile(path, s.buf)
	if b != nil {
		s.buf = b
	}
	return b, err
}

// Columns of /proc/PID/net/dev behind the interface's name.
const (
	rxBytes   = 0
	rxPackets = 1
	rxErrors  = 2
	rxDropped = 3
	txBytes   = 8
	txPackets = 9
	txErrors  = 10
	txDropped = 11
	columns   = 12 // that are needed
)

// parseNetDev reads /proc/PID/net/dev; lines that are no counters, such as the two header lines, are passed over, and so is
// loopback.
func parseNetDev(b []byte) []figures.Interface {
	all := []figures.Interface{} // not nil: that means the host's network
	for len(b) > 0 && len(all) < maxInterfaces {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte{'\n'})
		name, counters, ok := bytes.Cut(line, []byte{':'})
		name = bytes.TrimSpace(name)
		if !ok || len(name) == 0 || string(name) == "lo" {
			continue
		}
		var n [columns]uint64
		if !parseColumns(counters, &n) {
			continue
		}
		all = append(all, figures.Interface{
			Name: string(bytes.ToValidUTF8(name, []byte{'?'})), RxBytes: n[rxBytes], RxPackets: n[rxPackets], RxErrors: n[rxErrors], RxDropped: n[rxDropped],
			TxBytes: n[txBytes], TxPackets: n[txPackets], TxErrors: n[txErrors], TxDropped: n[txDropped],
		})
	}
	slices.SortFunc(all, func(a, b figures.Interface) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// parseColumns reads as many numbers as n has.
func parseColumns(b []byte, n *[columns]uint64) bool {
	for i := range n {
		var word []byte
		b = bytes.TrimLeft(b, " ")
		word, b, _ = bytes.Cut(b, []byte{' '})
		v, err := strconv.ParseUint(string(word), 10, 64)
		if err != nil {
			return false
		}
		n[i] = v
	}
	return true
}

// addSockets reads /proc/PID/net/sockstat or sockstat6: "TCP: inuse 1 orphan 0 tw 0 ...".
func addSockets(sockets *figures.Sockets, b []byte) {
	for len(b) > 0 {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte{'\n'})
		kind, rest, ok := bytes.Cut(line, []byte{':'})
		if !ok {
			continue
		}
		switch string(kind) {
		case "TCP", "TCP6":
			sockets.TCP += word(rest, "inuse")
			sockets.TimeWait += word(rest, "tw") // the file of IPv6 has none, IPv4's counts both
		case "UDP", "UDP6":
			sockets.UDP += word(rest, "inuse")
		}
	}
}

// word is the number behind a word in "inuse 1 orphan 0"; 0 without it.
func word(b []byte, key string) int64 {
	for len(b) > 0 {
		var name, number []byte
		name, b, _ = bytes.Cut(bytes.TrimLeft(b, " "), []byte{' '})
		number, b, _ = bytes.Cut(bytes.TrimLeft(b, " "), []byte{' '})
		if string(name) == key {
			n, err := strconv.ParseInt(string(number), 10, 64)
			if err != nil {
				return 0
			}
			return min(max(n, 0), 1<<31) // more cannot be; so that no sum overflows
		}
	}
	return 0
}

package drain

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Sockets are what one network namespace says of its TCP connections.
type Sockets struct {
	// Open are those in which one side may still have something to say, by local port.
	Open map[uint16]int
	// Accepted counts the connections that others opened, since the namespace is there.
	Accepted uint64
}

// Read reads those of a process's network namespace.
func Read(pid int) (Sockets, error) {
	return readFrom(filepath.Join("/proc", strconv.Itoa(pid), "net"))
}

func readFrom(folder string) (Sockets, error) {
	s := Sockets{Open: map[uint16]int{}}
	for _, name := range []string{"tcp", "tcp6"} {
		err := s.file(filepath.Join(folder, name), s.table)
		if err != nil && (name == "tcp" || !errors.Is(err, fs.ErrNotExist)) { // a kernel may have no IPv6
			return s, err
		}
	}
	return s, s.file(filepath.Join(folder, "snmp"), s.counters)
}

func (s *Sockets) file(path string, take func(io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read connections: %w", err)
	}
	defer f.Close()
	if err := take(f); err != nil {
		return fmt.Errorf("read connections: %s: %w", path, err)
	}
	return nil
}

// States of TCP in the kernel's tables (include/net/tcp_states.h) in which data may be under way: what the peer has not confirmed
// is lost with the network namespace. CLOSE_WAIT is none of them, as programs that forget to close leave it behind for ever.
const (
	established = 0x01
	synReceived = 0x03
	finWait1    = 0x04
	lastAck     = 0x09
)

// table takes in /proc/net/tcp or tcp6: "  sl: LOCAL:PORT REMOTE:PORT STATE ..." in hexadecimal, after one line of titles.
func (s *Sockets) table(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for first := true; lines.Scan(); first = false {
		if first {
			continue
		}
		f := bytes.Fields(lines.Bytes())
		if len(f) < 4 {
			return fmt.Errorf("unexpected line %q", lines.Text())
		}
		_, port, ok := bytes.Cut(f[1], []byte(":"))
		n, err1 := strconv.ParseUint(string(port), 16, 16)
		state, err2 := strconv.ParseUint(string(f[3]), 16, 8)
		if !ok || errors.Join(err1, err2) != nil {
			return fmt.Errorf("unexpected line %q", lines.Text())
		}
		switch state {
		case established, synReceived, finWait1, lastAck:
			s.Open[uint16(n)]++
		}
	}
	return lines.Err()
}

// counters takes in /proc/net/snmp: of each protocol a line of names and one of values.
func (s *Sockets) counters(r io.Reader) error {
	lines := bufio.NewScanner(r)
	var names [][]byte
	for lines.Scan() {
		f := bytes.Fields(bytes.Clone(lines.Bytes()))
		if len(f) == 0 || string(f[0]) != "Tcp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, name := range names {
			if string(name) == "PassiveOpens" && i < len(f) {
				n, err := strconv.ParseUint(string(f[i]), 10, 64)
				s.Accepted = n
				return err
			}
		}
	}
	return errors.Join(lines.Err(), errors.New("it does not count accepted connections"))
}

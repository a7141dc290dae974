package drain

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1054 1 0000000000000000 100 0 0 10 0
   1: 0A01000A:0050 0B01000A:C001 01 00000000:00000000 00:00000000 00000000     0        0 1055 1 0000000000000000 20 4 30 10 -1
   2: 0A01000A:0050 0B01000A:C002 01 00000000:00000000 00:00000000 00000000     0        0 1056 1 0000000000000000 20 4 30 10 -1
   3: 0A01000A:0050 0B01000A:C003 06 00000000:00000000 03:00000A8C 00000000     0        0 0 3 0000000000000000
   4: 0A01000A:0050 0B01000A:C004 08 00000000:00000000 00:00000000 00000000     0        0 1057 1 0000000000000000 20 4 30 10 -1
   5: 0A01000A:01BB 0B01000A:C005 04 00000000:00000000 00:00000000 00000000     0        0 1058 1 0000000000000000 20 4 30 10 -1
   6: 0A01000A:C010 0B01000A:1538 01 00000000:00000000 00:00000000 00000000     0        0 1059 1 0000000000000000 20 4 30 10 -1
`

func TestTable(t *testing.T) {
	s := Sockets{Open: map[uint16]int{}}
	if err := s.table(strings.NewReader(table)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[uint16]int{80: 2, 443: 1, 49168: 1}, s.Open); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"titles\nx", "titles\n0: a b c", "titles\n0: 0A01000A:XY 0:0 01", "titles\n0: 0A01000A:10000 0:0 01"} {
		if err := s.table(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCounters(t *testing.T) {
	for text, want := range map[string]uint64{
		"Ip: A B\nIp: 1 2\nTcp: RtoMin ActiveOpens PassiveOpens X\nTcp: 1 2 30833 4\nUdp: A\nUdp: 1\n": 30833,
		"": 0, "Tcp: PassiveOpens\n": 0, "Tcp: A PassiveOpens\nTcp: 1\n": 0, "Tcp: PassiveOpens\nTcp: -1\n": 0,
	} {
		var s Sockets
		if err := s.counters(strings.NewReader(text)); s.Accepted != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", text, s.Accepted, err)
		}
	}
}

// TestReadsTheKernels reads this process's own.
func TestReadsTheKernels(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	before, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	theirs, err := l.Accept() // the kernel may be a moment behind what Dial saw
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	after, err := Read(os.Getpid())
	if err != nil || before.Open[port] != 0 || after.Open[port] != 1 || after.Accepted <= before.Accepted {
		t.Errorf("before %d of %d, after %d of %d, %v", before.Open[port], before.Accepted, after.Open[port], after.Accepted, err)
	}
	if _, err := Read(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no process: %v", err)
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte(table))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := Sockets{Open: map[uint16]int{}}
		if err := s.table(bytes.NewReader(text)); err != nil {
			return
		}
		n := 0
		for _, c := range s.Open {
			n += c
		}
		if lines := bytes.Count(text, []byte("\n")) + 1; n > lines {
			t.Errorf("%d connections in %d lines", n, lines)
		}
		_ = s.counters(bytes.NewReader(text))
	})
}

package monitor

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/monitor/zbxd"
)

// openPort serves a host's port until the test ends, and returns how to ask there.
func openPort(t *testing.T, m *Monitor) (address string, ask func(data []byte) string) {
	t.Helper()
	m.o.Listen = "127.0.0.1:0"
	m.o.Socket = filepath.Join(t.TempDir(), "zabbix.sock")
	doors, err := m.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, len(doors))
	for _, d := range doors {
		go func() { done <- m.serve(ctx, d) }()
	}
	t.Cleanup(func() {
		stop()
		for range doors {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	address = doors[1].Addr().String()
	return address, func(data []byte) string {
		t.Helper()
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(data); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

func TestPort(t *testing.T) {
	m := newHost(t).monitor("unused")
	_, ask := openPort(t, m)
	framed := func(text string) string { return string(zbxd.Frame([]byte(text))) }
	for request, want := range map[string]string{
		framed("agent.ping"):    framed("1"),
		framed("agent.version"): framed("1.2.3"),
		framed("berth.ping"):    framed("ZBX_NOTSUPPORTED\x00berth.ping: no sample has been taken yet"),
		framed(`{"request":"passive checks","data":[{"key":"agent.ping","timeout":3}]}`): framed(`{"version":"7.0.0","variant":1,"data":[{"value":"1"}]}`),
		framed(`{"request":"passive checks","data":[{"key":"berth["}]}`):                 framed(`{"version":"7.0.0","variant":1,"data":[{"error":"\"berth[\": a parameter has no end"}]}`),
		framed(`{"request":"active checks","host":"x"}`):                                 framed(`{"version":"7.0.0","variant":1,"error":"the request \"active checks\" is unknown, only \"passive checks\" is answered"}`),
		"agent.ping\n":             "1", // as people ask by nc
		"ZBXD\x09\x01\x00\x00\x00": "",  // cut, and unknown
	} {
		if strings.HasPrefix(request, "ZBXD\x09") {
			request += strings.Repeat("\x00", 4)
		}
		if got := ask([]byte(request)); got != want {
			t.Errorf("%q: got %q, want %q", request, got, want)
		}
	}
}

// TestStrangers: who is not allowed gets no answer, and is logged once.
func TestStrangers(t *testing.T) {
	m := newHost(t).monitor("unused")
	var log bytes.Buffer
	l := logrus.New()
	l.SetOutput(&log)
	m.log = l
	m.o.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	t.Cleanup(func() { // after the port has ended
		if n := strings.Count(log.String(), "Refused a Zabbix server"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, log.String())
		}
	})
	_, ask := openPort(t, m)
	for range 3 {
		if got := ask(nil); got != "" {
			t.Errorf("got %q", got)
		}
	}
}

func TestAllowed(t *testing.T) {
	d := door{allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128")}}
	for from, want := range map[string]bool{"10.1.2.3:5": true, "[::ffff:10.1.2.3]:5": true, "10.2.0.1:5": false, "[::1]:5": true, "[fe80::1%eth0]:5": false, "nobody": false} {
		if got := d.allowed(from); got != want {
			t.Errorf("%s: %v", from, got)
		}
	}
}

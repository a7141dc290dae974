package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/spec"
)

// shell answers Exec.
type shell struct {
	code   int
	output string
	err    error
	got    []string
}

func (s *shell) Exec(_ context.Context, id string, cmd []string) (int, []byte, error) {
	s.got = append([]string{id}, cmd...)
	return s.code, []byte(s.output), s.err
}

func at(t *testing.T, s *httptest.Server) (Target, int) {
	t.Helper()
	a := netip.MustParseAddrPort(s.Listener.Addr().String())
	return Target{TaskID: "a", Container: "c1", Address: a.Addr()}, int(a.Port())
}

func handler(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	for path, code := range map[string]int{"/ok": 200, "/moved": 302, "/edge": 399, "/none": 404, "/down": 503} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Host != r.Context().Value(http.LocalAddrContextKey).(net.Addr).String() {
				t.Errorf("Host %q", r.Host)
			}
			w.Header().Set("Location", "/down")
			w.WriteHeader(code)
		})
	}
	mux.HandleFunc("/query", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "a=b" {
			w.WriteHeader(400)
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/warming", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(503)
		_, _ = w.Write([]byte("{\xff" + strings.Repeat("x", 10000)))
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	return mux
}

func TestHTTP(t *testing.T) {
	plainServer, secure := httptest.NewServer(handler(t)), httptest.NewTLSServer(handler(t))
	defer plainServer.Close()
	defer secure.Close()
	for _, c := range []struct{ protocol, path, want string }{
		{"HTTP", "/ok", ""}, {"HTTP", "ok", ""}, {"HTTP", "/query?a=b", ""}, {"HTTP", "/moved", ""}, {"HTTP", "/edge", ""},
		{"HTTP", "/none", "HTTP 404"}, {"HTTP", "/down", "HTTP 503"}, {"HTTP", "/endless", ""}, {"HTTP", "/hang", "timeout after 300ms"},
		{"HTTP", "/%zz", "cannot be requested"},
		{"HTTPS", "/ok", ""}, {"HTTPS", "/down", "HTTP 503"}, {"MESOS_HTTPS", "/ok", ""}, {"MESOS_HTTP", "/ok", ""},
	} {
		t.Run(c.protocol+c.path, func(t *testing.T) {
			s := plainServer
			if strings.HasSuffix(c.protocol, "HTTPS") {
				s = secure
			}
			target, port := at(t, s)
			check(t, NewProber(nil), target, spec.Probe{Protocol: c.protocol, Path: c.path, Port: port}, c.want)
		})
	}
	t.Run("HTTPS on a plain port", func(t *testing.T) {
		target, port := at(t, plainServer)
		check(t, NewProber(nil), target, spec.Probe{Protocol: "HTTPS", Path: "/", Port: port}, "TLS")
	})
}

func TestKeptResponse(t *testing.T) {
	s := httptest.NewServer(handler(t))
	defer s.Close()
	target, port := at(t, s)
	p := spec.Probe{Protocol: "HTTP", Path: "/warming", Port: port, Timeout: time.Minute, KeepResponse: true}
	got, err := attempt(t.Context(), NewProber(nil), target, p)
	want := spec.ProbeResponse{Status: 503, ContentType: "application/json", Body: "{?" + strings.Repeat("x", spec.MaxProbeBody-2)}
	if got != want || err == nil || err.Error() != "HTTP 503" {
		t.Errorf("%d bytes, %v", len(got.Body), err)
	}
	p.KeepResponse = false
	if got, _ := attempt(t.Context(), NewProber(nil), target, p); got != (spec.ProbeResponse{}) {
		t.Errorf("kept although nobody asked: %+v", got)
	}
	p.KeepResponse, p.Path = true, "/ok"
	if got, err := attempt(t.Context(), NewProber(nil), target, p); got.Status != 200 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func check(t *testing.T, p Prober, target Target, probe spec.Probe, want string) {
	t.Helper()
	probe.Timeout = 300 * time.Millisecond
	_, err := attempt(t.Context(), p, target, probe)
	if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
	if err != nil && (strings.Contains(err.Error(), "dial tcp") || strings.Contains(err.Error(), "Get ")) {
		t.Errorf("not for people: %v", err)
	}
}

func TestTCP(t *testing.T) {
	s := httptest.NewServer(handler(t))
	target, port := at(t, s)
	check(t, NewProber(nil), target, spec.Probe{Protocol: "TCP", Port: port}, "")
	s.Close()
	check(t, NewProber(nil), target, spec.Probe{Protocol: "TCP", Port: port}, "connection refused")
	check(t, NewProber(nil), target, spec.Probe{Protocol: "HTTP", Port: port}, "connection refused")
	check(t, NewProber(nil), target, spec.Probe{Protocol: "UDP", Port: port}, `unknown protocol "UDP"`)
}

func TestClosedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	a := netip.MustParseAddrPort(l.Addr().String())
	check(t, NewProber(nil), Target{Address: a.Addr()}, spec.Probe{Protocol: "HTTP", Port: int(a.Port())}, "connection")
}

func TestCommand(t *testing.T) {
	for name, c := range map[string]struct {
		shell shell
		want  string
	}{
		"good":    {shell{}, ""},
		"bad":     {shell{code: 3, output: "\nno database\nmore"}, "command ended with exit code 3: no database"},
		"silent":  {shell{code: 1}, "command ended with exit code 1"},
		"docker":  {shell{err: errors.New("no such container")}, "no such container"},
		"timeout": {shell{err: context.DeadlineExceeded}, "timeout after 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, NewProber(&c.shell), Target{Container: "c1"}, spec.Probe{Protocol: "COMMAND", Command: "test -f /x"}, c.want)
			if got := strings.Join(c.shell.got, "|"); got != "c1|/bin/sh|-c|test -f /x" {
				t.Errorf("ran %s", got)
			}
		})
	}
}

// TestArgv: an argument vector runs without a shell.
func TestArgv(t *testing.T) {
	var s shell
	check(t, NewProber(&s), Target{Container: "box", Members: map[string]string{"web": "c2"}}, spec.Probe{Protocol: "COMMAND", Argv: []string{"test", "-f", "a b"}, Container: "web"}, "")
	if got := strings.Join(s.got, "|"); got != "c2|test|-f|a b" {
		t.Errorf("ran %s", got)
	}
}

func TestHostPort(t *testing.T) {
	for want, a := range map[string]netip.Addr{"127.0.0.1:80": {}, "[fd00::1]:80": netip.MustParseAddr("fd00::1"), "10.0.0.1:80": netip.MustParseAddr("10.0.0.1")} {
		if got := hostPort(a, 80); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestReportedKeepsTheCode: what was answered comes with the result of a check that is only reported, also when it failed.
func TestReportedKeepsTheCode(t *testing.T) {
	server := httptest.NewServer(handler(t))
	defer server.Close()
	target, port := at(t, server)
	for _, c := range []struct {
		probe spec.Probe
		exec  shell
		want  spec.ProbeResponse
	}{
		{spec.Probe{Protocol: "HTTP", Path: "/down", Port: port}, shell{}, spec.ProbeResponse{Status: 503}},
		{spec.Probe{Protocol: "HTTP", Path: "/ok", Port: port}, shell{}, spec.ProbeResponse{Status: 200}},
		{spec.Probe{Protocol: "COMMAND", Command: "x"}, shell{code: 3}, spec.ProbeResponse{Exited: true, ExitCode: 3}},
		{spec.Probe{Protocol: "COMMAND", Command: "x"}, shell{}, spec.ProbeResponse{Exited: true}},
		{spec.Probe{Protocol: "COMMAND", Command: "x"}, shell{err: errors.New("gone")}, spec.ProbeResponse{}},
	} {
		for _, reported := range []bool{true, false} {
			want := c.want
			if !reported {
				want = spec.ProbeResponse{}
			}
			c.probe.Reported = reported
			if got, _ := NewProber(&c.exec).Probe(t.Context(), target, c.probe); got != want {
				t.Errorf("%+v: got %+v", c.probe, got)
			}
		}
	}
}

// member is an Exec that says in which container it was asked.
type member struct{ asked *string }

func (m member) Exec(_ context.Context, id string, _ []string) (int, []byte, error) {
	*m.asked = id
	return 0, nil, nil
}

func TestCommandRunsInThePodsContainer(t *testing.T) {
	var asked string
	p := NewProber(member{&asked})
	target := Target{Container: "sandbox", Members: map[string]string{"web": "c-web"}}
	if _, err := p.Probe(t.Context(), target, spec.Probe{Protocol: "COMMAND", Command: "x", Container: "web"}); err != nil || asked != "c-web" {
		t.Errorf("asked %q: %v", asked, err)
	}
	if _, err := p.Probe(t.Context(), target, spec.Probe{Protocol: "COMMAND", Command: "x", Container: "side"}); err == nil || err.Error() != "container side does not run" {
		t.Errorf("got %v", err)
	}
}

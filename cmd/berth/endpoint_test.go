package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
)

func TestParseEndpoint(t *testing.T) {
	e, err := parseEndpoint("h1=unix:///run/h1/docker.sock,rack=r1,cpus=1.5,mem=2048,state-dir=/var/lib/berth-h1/,disk=ssd=fast")
	if err != nil {
		t.Fatal(err)
	}
	if e.name != "h1" || e.url != "unix:///run/h1/docker.sock" || e.cpus != 1.5 || e.mem != 2048 || e.stateDir != "/var/lib/berth-h1" ||
		!maps.Equal(e.attributes, map[string]string{"rack": "r1", "disk": "ssd=fast"}) {
		t.Errorf("got %+v", e)
	}
	if e, err = parseEndpoint("h2=tcp://127.0.0.1:2375"); err != nil || e.stateDir != defaultStateDir || e.cpus != 0 {
		t.Errorf("got %+v, %v", e, err)
	}
	for text, want := range map[string]string{
		"":                               "begin with NAME=URL",
		"unix:///run/docker.sock":        "begin with NAME=URL",
		"h1=/run/docker.sock":            "no unix:///PATH or tcp://HOST:PORT",
		"../h1=unix:///s":                "no name of a host",
		"h1=unix:///s,rack":              `"rack" is no NAME=VALUE`,
		"h1=unix:///s,cpus=none":         "cpus: ",
		"h1=unix:///s,mem=-1":            "mem: must be positive",
		"h1=unix:///s,cpus=NaN":          "cpus: must be positive",
		"h1=unix:///s,state-dir=here":    "state-dir: need an absolute path",
		"h1=unix:///s,rack=r1,rack=r2":   "rack: named twice",
		"h1=unix:///s,,rack=r1,mem=,a=b": `"" is no NAME=VALUE`,
	} {
		if _, err := parseEndpoint(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestSettleEndpoints(t *testing.T) {
	settle := func(o standaloneOptions) (settings, error) {
		o.LogLevel, o.MaxDeployments, o.Hostname, o.StateDir = "info", 1, "box", "/s"
		return o.settle(&cli{err: new(strings.Builder)})
	}
	s, err := settle(standaloneOptions{Endpoints: []string{"h1=unix:///h1", "box=unix:///run/docker.sock"}, EndpointTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if local := s.localEndpoint(); local == nil || local.stateDir != "/s" || s.endpoints[0].stateDir != defaultStateDir {
		t.Errorf("got %+v, local %+v", s.endpoints, local)
	}
	_, err = settle(standaloneOptions{
		Endpoints:   []string{"h1=unix:///h1", "h1=unix:///h2", "h3=unix:///h1", "h4"},
		Simulate:    "hosts=1",
		hostOptions: hostOptions{DockerHost: "unix:///run/docker.sock"}, OfferCPUs: 1,
	})
	for _, want := range []string{"two hosts are named h1", "would be offered twice", "--endpoint h4: begin with", "--endpoint-timeout 0s", "--simulate", "--docker-host", "--offer-cpus"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said:\n%v", want, err)
		}
	}
}

func TestCleanupIsForTheAgentOfAHost(t *testing.T) {
	s := settings{endpoints: []endpoint{{name: "h1", url: "unix:///h1"}}}
	s.Cleanup, s.Hostname = true, "box"
	if err := runStandalone(t.Context(), s); err == nil || !strings.Contains(err.Error(), "berth agent --cleanup") {
		t.Errorf("got %v", err)
	}
}

// TestSizeOfASilentEndpoint: one dead Docker Engine must not keep Berth from starting.
func TestSizeOfASilentEndpoint(t *testing.T) {
	c := &composition{settings: settings{log: logrus.New()}}
	c.log.SetOutput(io.Discard)
	client, err := docker.New("unix://" + filepath.Join(t.TempDir(), "nobody.sock"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "size.json")
	if _, _, err := c.sizeOf(t.Context(), client, endpoint{cpus: 1}, file); err == nil || !strings.Contains(err.Error(), "cpus=N and mem=N") {
		t.Errorf("got %v", err)
	}
	if cpus, mem, err := c.sizeOf(t.Context(), client, endpoint{cpus: 1, mem: 512}, file); err != nil || cpus != 1 || mem != 512 {
		t.Errorf("got %v CPUs, %v MiB, %v", cpus, mem, err)
	}
	if err := os.WriteFile(file, []byte(`{"cpus":4,"mem":2048}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if cpus, mem, err := c.sizeOf(t.Context(), client, endpoint{mem: 512}, file); err != nil || cpus != 4 || mem != 512 {
		t.Errorf("got %v CPUs, %v MiB, %v", cpus, mem, err)
	}
}

// TestEndpointsAreAskedAtOnce: hosts that are away keep Berth waiting once, not once each. No engine here answers before all
// have been asked.
func TestEndpointsAreAskedAtOnce(t *testing.T) {
	const n = 3
	var asked sync.WaitGroup
	asked.Add(n)
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/info") {
			asked.Done()
			asked.Wait()
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer engine.Close()
	c := &composition{settings: settings{log: logrus.New()}}
	c.log.SetOutput(io.Discard)
	c.StateDir, c.EngineListen, c.EndpointTimeout = t.TempDir(), "127.0.0.1:0", time.Minute
	for i := range n {
		c.endpoints = append(c.endpoints, endpoint{name: fmt.Sprintf("h%d", i), url: strings.Replace(engine.URL, "http", "tcp", 1), cpus: 1, mem: 512})
	}
	if _, _, err := c.addEndpoints(t.Context()); err != nil {
		t.Error(err)
	}
}

package netplugin

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
)

func TestListen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plugins")
	path := filepath.Join(dir, "x.sock")
	first, err := listen(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := os.Stat(path); err != nil || s.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", s.Mode(), err)
	}
	t.Run("a live owner is named", func(t *testing.T) {
		_, err := listen(dir, "x")
		if err == nil || !strings.Contains(err.Error(), "process ") || !strings.Contains(err.Error(), filepath.Base(os.Args[0])) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a dead one is replaced", func(t *testing.T) {
		first.(*net.UnixListener).SetUnlinkOnClose(false) // as kill -9 leaves it
		first.Close()
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
		second, err := listen(dir, "x")
		if err != nil {
			t.Fatal(err)
		}
		second.Close()
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	t.Run("a file is not touched", func(t *testing.T) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := listen(dir, "x"); err == nil || !strings.Contains(err.Error(), "no socket") {
			t.Errorf("got %v", err)
		}
	})
}

func TestServe(t *testing.T) {
	log, _ := test.NewNullLogger()
	var inv watch.Value[docker.Snapshot]
	p, err := New(Options{Name: "x", Dir: t.TempDir(), Inventory: &inv, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- p.Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", l.Addr().String())
	}}}
	resp, err := client.Post("http://x/Plugin.Activate", "", nil)
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("%v, %v", resp, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(l.Addr().String()); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestOptions(t *testing.T) {
	log, _ := test.NewNullLogger()
	var inv watch.Value[docker.Snapshot]
	for _, name := range []string{"", "../x", "a/b", "Berth", "a.sock"} {
		if _, err := New(Options{Name: name, Inventory: &inv, Log: log}); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

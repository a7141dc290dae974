package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
	"github.com/berth-project/berth/spec"
)

func TestAuthentication(t *testing.T) {
	s, err := api.New(options(apitest.New(api.NewLog(0))))
	if err != nil {
		t.Fatal(err)
	}
	basic := func(user, password string) string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	for name, c := range map[string]struct {
		header string
		want   int
	}{
		"nothing":        {"", 401},
		"bearer":         {"Bearer s3cret", 200},
		"bearer, small":  {"bearer s3cret", 200},
		"dc/os":          {"token=s3cret", 200},
		"basic":          {basic("berth", "s3cret"), 200},
		"other user":     {basic("root", "s3cret"), 401},
		"wrong password": {basic("berth", "s3cre"), 401},
		"wrong bearer":   {"Bearer s3cret2", 401},
		"empty bearer":   {"Bearer ", 401},
		"bare":           {"s3cret", 401},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/ping", "/v2/apps", "/nowhere", "/berth/v1/hosts/h/document"} {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				if c.header != "" {
					r.Header.Set("Authorization", c.header)
				}
				w := httptest.NewRecorder()
				s.Handler("s3cret").ServeHTTP(w, r)
				if (w.Code == 401) != (c.want == 401) {
					t.Errorf("%s: %d", path, w.Code)
				}
				if w.Code == 401 && !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic realm=") {
					t.Errorf("%s: no WWW-Authenticate", path)
				}
			}
		})
	}
}

func TestBodiesAreBoundedAndCompressed(t *testing.T) {
	world := apitest.New(api.NewLog(0))
	o := options(world)
	o.MaxBody = 1000
	s, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, path, body string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		s.Handler("").ServeHTTP(w, r)
		return w
	}
	if w := send("POST", "/v2/apps", `{"id":"web","cmd":"`+strings.Repeat("x", 2000)+`"}`); w.Code != 413 {
		t.Errorf("a body above the bound: %d %s", w.Code, w.Body)
	}
	for n := range 3 {
		if w := send("POST", "/v2/apps", fmt.Sprintf(`{"id":"web-%d","cmd":"sleep 1"}`, n)); w.Code != 201 {
			t.Fatalf("post: %d %s", w.Code, w.Body)
		}
	}
	plain := send("GET", "/v2/apps", "")
	packed := send("GET", "/v2/apps", "", "Accept-Encoding", "br, gzip;q=0.5")
	if packed.Header().Get("Content-Encoding") != "gzip" || packed.Body.Len() >= plain.Body.Len() {
		t.Fatalf("not compressed: %v, %d against %d bytes", packed.Header(), packed.Body.Len(), plain.Body.Len())
	}
	z, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil || !bytes.Equal(got, plain.Body.Bytes()) {
		t.Errorf("the compressed body differs: %v", err)
	}
	if w := send("GET", "/v2/apps", "", "Accept-Encoding", "gzip;q=0"); w.Header().Get("Content-Encoding") != "" {
		t.Error("compressed although refused")
	}
}

func TestHostDocumentLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := apitest.New(api.NewLog(0))
		s, err := api.New(options(world))
		if err != nil {
			t.Fatal(err)
		}
		poll := func(query string) (w *httptest.ResponseRecorder, done chan struct{}) {
			w, done = httptest.NewRecorder(), make(chan struct{})
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/berth/v1/hosts/h1/document?"+query, nil)
			go func() { s.Handler("").ServeHTTP(w, r); close(done) }()
			return w, done
		}
		world.SetDocument(spec.HostDocument{Host: "h1", Version: 3})
		w, done := poll("version=2&wait=30s")
		<-done
		if w.Code != 200 || !strings.Contains(w.Body.String(), `"Version":3`) {
			t.Errorf("newer at once: %d %s", w.Code, w.Body)
		}
		w, done = poll("version=3&wait=30s")
		synctest.Wait()
		world.SetDocument(spec.HostDocument{Host: "h1", Version: 4})
		<-done
		if w.Code != 200 || !strings.Contains(w.Body.String(), `"Version":4`) {
			t.Errorf("newer while waiting: %d %s", w.Code, w.Body)
		}
		begin := time.Now()
		w, done = poll("version=4&wait=30s")
		<-done
		if waited := time.Since(begin); w.Code != 204 || waited != 30*time.Second {
			t.Errorf("nothing newer: %d after %s", w.Code, waited)
		}
	})
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	open := func() net.Listener {
		t.Helper()
		l, err := api.ListenUnix(path)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := open()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if _, err := api.ListenUnix(path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a live socket was taken: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}

	// What a killed process leaves: a socket that nobody listens on.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	_ = open().Close()

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := api.ListenUnix(path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file was taken: %v", err)
	}
}

// Stopping ends streams at once and lets a running change finish.
func TestServeStops(t *testing.T) {
	world := apitest.New(api.NewLog(0))
	slow := &slowBackend{World: world, begun: make(chan struct{}), finish: make(chan struct{})}
	o := options(world)
	o.Backend = slow
	s, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := api.ListenUnix(filepath.Join(t.TempDir(), "api.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, []api.Listener{{Listener: l}}) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.Addr().String())
	}}}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://berth/v2/events", nil)
	req.Header.Set("Accept", "text/event-stream")
	events, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	posted := make(chan int, 1)
	go func() {
		resp, err := client.Post("http://berth/v2/apps", "application/json", strings.NewReader(`{"id":"web","cmd":"sleep 1"}`))
		if err != nil {
			t.Error(err)
			posted <- 0
			return
		}
		_ = resp.Body.Close()
		posted <- resp.StatusCode
	}()
	<-slow.begun
	stop()
	if _, err := io.ReadAll(events.Body); err != nil {
		t.Errorf("the event stream broke: %v", err)
	}
	close(slow.finish)
	if code := <-posted; code != 201 {
		t.Errorf("the running change got %d", code)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

type slowBackend struct {
	*apitest.World
	begun, finish chan struct{}
}

func (b *slowBackend) Change(ctx context.Context, c api.Change) (*api.Changed, error) {
	close(b.begun)
	<-b.finish
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return b.World.Change(ctx, c)
}

package document

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/berth-project/berth/spec"
)

// server is the scheduler's side in memory: it holds polls open, and can be away.
type server struct {
	mu      sync.Mutex
	doc     *spec.HostDocument
	changed chan struct{}
	away    bool
	reports []spec.HostReport
	asked   []string
	refuse  int // status for reports, 0: accept
}

func newServer() *server { return &server{changed: make(chan struct{})} }

func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// told is what the server heard so far.
func (s *server) told() (reports []spec.HostReport, asked []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reports, s.asked
}

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}
}

// RoundTrip answers without a network, so that it works in a test's bubble.
func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Method+" "+r.URL.String()+" "+r.Header.Get("Authorization"))
	if s.away {
		return nil, errors.New("connection refused")
	}
	if r.Method == http.MethodPost {
		if s.refuse != 0 {
			return answer(s.refuse, "not now"), nil
		}
		var report spec.HostReport
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
			return nil, err
		}
		s.reports = append(s.reports, report)
		return answer(204, ""), nil
	}
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		return nil, err
	}
	deadline := time.After(wait)
	for {
		if s.away {
			return nil, io.ErrUnexpectedEOF
		}
		if s.doc != nil && r.URL.Query().Get("version") < itoa(s.doc.Version) {
			b, _ := json.Marshal(s.doc)
			return answer(200, string(b)), nil
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			s.mu.Lock()
			return answer(204, ""), nil
		case <-r.Context().Done():
			s.mu.Lock()
			return nil, r.Context().Err()
		}
		s.mu.Lock()
	}
}

func itoa(n uint64) string { return string('0' + rune(n)) } // versions below 10

func document(version uint64) *spec.HostDocument {
	return &spec.HostDocument{Schema: 1, Version: version, Host: "h1", AuthorizedKeys: []string{"key"}}
}

// start runs a client in the bubble; it ends with the test.
func start(t *testing.T, s *server, file string) *Client {
	t.Helper()
	log, _ := test.NewNullLogger()
	c, err := New(Options{API: "http://scheduler:1", Token: "secret", Host: "h1", File: file, Transport: s, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = c.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

func version(c *Client) uint64 {
	d, _ := c.Document().Get()
	if d == nil {
		return 0
	}
	return d.Version
}

func TestPoll(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "document.json")
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		c := start(t, s, file)
		synctest.Wait()
		if version(c) != 0 {
			t.Errorf("a document from nowhere: %d", version(c))
		}
		s.set(func() { s.doc = document(1) })
		synctest.Wait()
		if version(c) != 1 {
			t.Errorf("got %d", version(c))
		}
		time.Sleep(time.Minute) // polls end with 204 and begin again
		if _, asked := s.told(); len(asked) > 5 {
			t.Errorf("%d requests in a quiet minute", len(asked))
		}
		s.set(func() { s.away = true })
		time.Sleep(time.Minute)
		if _, asked := s.told(); len(asked) > 50 {
			t.Errorf("%d requests while the scheduler is away", len(asked))
		}
		// It comes back without its memory: numbers begin again, and what it says holds.
		s.set(func() { s.away, s.doc = false, document(1); s.doc.AuthorizedKeys = []string{"other"} })
		time.Sleep(10 * time.Second)
		if d, _ := c.Document().Get(); d.AuthorizedKeys[0] != "other" {
			t.Errorf("got %+v", d)
		}
		want := "GET http://scheduler:1/berth/v1/hosts/h1/document?version=0&wait=30s&survey=0&anew=0 Bearer secret"
		if _, asked := s.told(); asked[0] != want {
			t.Errorf("asked %q", asked[0])
		}
	})
	if s, err := os.Stat(file); err != nil || s.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", s, err)
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	log, _ := test.NewNullLogger()
	again, err := New(Options{API: "unix:///nowhere.sock", Host: "h1", File: file, Log: log})
	if err != nil || version(again) != 1 {
		t.Errorf("kept document: %d, %v", version(again), err)
	}
	stranger, err := New(Options{API: "unix:///nowhere.sock", Host: "h2", File: file, Log: log})
	if err != nil || version(stranger) != 0 {
		t.Errorf("another host's document is used: %d, %v", version(stranger), err)
	}
}

func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		c := start(t, s, filepath.Join(t.TempDir(), "d.json"))
		synctest.Wait()
		one, two := spec.HostReport{Host: "h1", DocumentVersion: 1}, spec.HostReport{Host: "h1", DocumentVersion: 2}
		c.Report(one)
		synctest.Wait()
		c.Report(one) // nothing new
		synctest.Wait()
		if reports, _ := s.told(); len(reports) != 1 {
			t.Fatalf("%d reports", len(reports))
		}
		time.Sleep(31 * time.Second)
		if reports, _ := s.told(); len(reports) != 2 {
			t.Fatalf("%d reports after the refresh", len(reports))
		}
		s.set(func() { s.refuse = 503 })
		c.Report(two)
		time.Sleep(10 * time.Second)
		s.set(func() { s.refuse = 0 })
		time.Sleep(10 * time.Second)
		before, _ := s.told()
		if d := cmp.Diff(two, before[len(before)-1]); d != "" {
			t.Error(d)
		}
		// A scheduler that restarts is told again, although nothing changed.
		s.set(func() { s.away = true })
		time.Sleep(time.Second)
		s.set(func() { s.away, s.doc = false, document(3) })
		time.Sleep(6 * time.Second)
		if after, _ := s.told(); len(after) == len(before) {
			t.Error("the returned scheduler was told nothing")
		}
	})
}

func TestDecode(t *testing.T) {
	for body, want := range map[string]string{
		`{`:                                    "decode host document",
		`{"Schema":2,"Host":"h1"}`:             "its schema is 2",
		`{"Schema":1,"Host":"h2"}`:             `for host "h2", this is "h1"`,
		`{"Schema":1,"Host":"h1","Seats":3}`:   "cannot unmarshal",
		`{"Schema":1,"Host":"h1","Version":7}`: "",
	} {
		_, err := Decode([]byte(body), "h1")
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v", body, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"Schema":1,"Host":"h1","Seats":[{"Seat":{"App":"/a","Index":1},"Address":"10.0.0.1"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := Decode(b, "h1"); err == nil && (d.Host != "h1" || d.Schema != 1) {
			t.Errorf("accepted %+v", d)
		}
	})
}

func TestEndpoint(t *testing.T) {
	for api, want := range map[string][2]string{
		"unix:///run/berth/api.sock": {"http://berth", "/run/berth/api.sock"},
		"http://10.0.0.1:8080/":      {"http://10.0.0.1:8080", ""},
		"https://b.example/x":        {"https://b.example/x", ""},
	} {
		base, socket, err := endpoint(api)
		if err != nil || base != want[0] || socket != want[1] {
			t.Errorf("%s: %s %s %v", api, base, socket, err)
		}
	}
	for _, bad := range []string{"", "unix://x", "localhost:8080", "ftp://x", "http://"} {
		if _, _, err := endpoint(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// A process killed while it kept a document leaves a copy with private keys; the next one removes it.
func TestLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{"document.json.123", "document.json.bak", "document.json", "other.1"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		start(t, newServer(), filepath.Join(dir, "document.json"))
		synctest.Wait()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if want := []string{"document.json", "document.json.bak", "other.1"}; !slices.Equal(names, want) {
			t.Errorf("left are %v", names)
		}
	})
}

// The process of the host's network says so, tells at once which document is in force, asks well within the time that it may count
// on its addresses, and counts that from when it asked.
func TestNetPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.doc = document(1)
		s.doc.FenceAfter = 40 * time.Second
		log, _ := test.NewNullLogger()
		c, err := New(Options{API: "http://scheduler:1", Host: "h1", File: filepath.Join(t.TempDir(), "d.json"), Net: true, Transport: s, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { _ = c.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		began := time.Now()
		last := func() string {
			synctest.Wait()
			_, asked := s.told()
			_, query, _ := strings.Cut(asked[len(asked)-1], "?")
			return strings.TrimSpace(query)
		}
		if got := last(); got != "version=1&wait=10s&survey=0&anew=0&for=net&applied=0" {
			t.Errorf("asked %q", got)
		}
		time.Sleep(4 * time.Second)
		if at, _ := c.Contact().Get(); !at.Equal(began) {
			t.Errorf("contact at %v, asked at %v", at, began)
		}
		c.Applied(1)
		if got := last(); got != "version=1&wait=10s&survey=0&anew=0&for=net&applied=1" {
			t.Errorf("in force: asked %q", got)
		}
		if at, _ := c.Contact().Get(); !at.Equal(began) {
			t.Errorf("an unanswered question counts: %v", at)
		}
		time.Sleep(15 * time.Second) // answered after 10 s, from when it was asked
		if at, _ := c.Contact().Get(); !at.Equal(began.Add(4 * time.Second)) {
			t.Errorf("contact at %v after the start", at.Sub(began))
		}
		s.set(func() { s.away = true })
		time.Sleep(time.Minute)
		if at, _ := c.Contact().Get(); at.After(began.Add(20 * time.Second)) {
			t.Errorf("contact at %v after the start with a scheduler that is away", at.Sub(began))
		}
	})
}

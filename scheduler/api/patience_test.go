package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
)

// pipes is a listener without a network, for bubbles.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// talk serves one connection in a bubble and gives its client's end to f.
// The goroutines that f starts in the group end with the connection.
func talk(t *testing.T, f func(t *testing.T, conn net.Conn, group *sync.WaitGroup)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := options(apitest.New(api.NewLog(0)))
		o.Now = time.Now
		s, err := api.New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, []api.Listener{{Listener: l}}) }()
		client, server := net.Pipe()
		var group sync.WaitGroup
		l.conns <- server
		defer func() {
			_ = client.Close()
			group.Wait()
			stop()
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
		}()
		f(t, client, &group)
	})
}

// Clients that are slow on purpose, or broken, hold nothing for long.
func TestSlowClients(t *testing.T) {
	t.Run("a header that does not end", func(t *testing.T) {
		talk(t, func(t *testing.T, conn net.Conn, group *sync.WaitGroup) {
			begin := time.Now()
			group.Go(func() {
				for {
					if _, err := io.WriteString(conn, "X"); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
			_, _ = io.ReadAll(conn)
			if took := time.Since(begin); took > 11*time.Second {
				t.Errorf("cut off after %s", took)
			}
		})
	})
	t.Run("a body that does not end", func(t *testing.T) {
		talk(t, func(t *testing.T, conn net.Conn, group *sync.WaitGroup) {
			begin := time.Now()
			group.Go(func() {
				_, err := io.WriteString(conn, "POST /v2/apps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
				for err == nil {
					time.Sleep(time.Second)
					_, err = io.WriteString(conn, " ")
				}
			})
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != 400 || !resp.Close {
				t.Fatalf("got %v, %v", resp, err)
			}
			if took := time.Since(begin); took > 61*time.Second {
				t.Errorf("cut off after %s", took)
			}
		})
	})
	t.Run("an answer that nobody reads", func(t *testing.T) {
		talk(t, func(t *testing.T, conn net.Conn, group *sync.WaitGroup) {
			begin := time.Now()
			_, err := io.WriteString(conn, "GET /v2/info HTTP/1.1\r\nHost: x\r\n\r\n")
			for err == nil { // the server takes little more before its answer is gone
				_, err = io.WriteString(conn, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
			}
			if took := time.Since(begin); took > 4*time.Minute {
				t.Errorf("cut off after %s", took)
			}
		})
	})
	t.Run("a header without bounds", func(t *testing.T) {
		talk(t, func(t *testing.T, conn net.Conn, group *sync.WaitGroup) {
			group.Go(func() {
				fmt.Fprintf(conn, "GET /ping HTTP/1.1\r\nHost: x\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", 1<<20))
			})
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Fatalf("got %v, %v", resp, err)
			}
		})
	})
	t.Run("a connection that stays open", func(t *testing.T) {
		talk(t, func(t *testing.T, conn net.Conn, group *sync.WaitGroup) {
			begin := time.Now()
			group.Go(func() { _, _ = io.WriteString(conn, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n") })
			_, _ = io.ReadAll(conn)
			if took := time.Since(begin); took < time.Minute || took > 3*time.Minute {
				t.Errorf("closed after %s", took)
			}
		})
	})
}

// Whatever a client sends, it is the client's mistake: no 5xx, after which go-marathon gives a host up, and always a message.
func TestMistakesAreTheClients(t *testing.T) {
	f := inhabited(t)
	bodies := []string{"", " ", "{", "null", "[]", "{}", "1", `"x"`, "[null]", "[[]]", `{"id":null}`, `{"id":7}`, `{"id":"/../x"}`, `{"ids":[null]}`,
		`{"level":7}`, `{"apps":{}}`, `{"containers":7}`, `{"Host":[]}`, "\xff\xfe", strings.Repeat("[", 20000)}
	for _, e := range endpoints() {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			for _, body := range bodies {
				path := strings.NewReplacer("TASK", "..", "DEPLOYMENT", "%00", "VERSION", "%25", "INSTANCE", "::").Replace(e.path)
				resp, answer := f.ask(t, method, path, body)
				if resp.StatusCode >= 500 {
					t.Errorf("%s %s %.40q: %d %s", method, path, body, resp.StatusCode, answer)
				}
				if resp.StatusCode >= 400 && !strings.Contains(string(answer), `"message"`) {
					t.Errorf("%s %s %.40q: %d without a message: %s", method, path, body, resp.StatusCode, answer)
				}
			}
			if resp, answer := f.ask(t, method, e.path, "a=b", "Content-Type", "application/x-www-form-urlencoded"); resp.StatusCode >= 500 {
				t.Errorf("%s %s as a form: %d %s", method, e.path, resp.StatusCode, answer)
			}
		}
		for _, query := range []string{"?embed=%ff", "?label=((", "?force=1&scale=true&wipe=true", "?status=x", "?status[]=", "?id=%00", "?tail=-1&task=x", "?wait=x&version=x", "?;"} {
			if resp, answer := f.ask(t, "GET", strings.SplitN(e.path, "?", 2)[0]+query, ""); resp.StatusCode >= 500 {
				t.Errorf("GET %s%s: %d %s", e.path, query, resp.StatusCode, answer)
			}
		}
	}
}

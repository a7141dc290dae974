package mesos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func testPipeline(t *testing.T, at string) *pipeline {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	p := newPipeline(u, "stream-1", "application/x-protobuf", "berth", "secret")
	t.Cleanup(p.close)
	return p
}

func TestPipelineAnswersEachCall(t *testing.T) {
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		if user != "berth" || password != "secret" || r.Header.Get(streamHeader) != "stream-1" || r.Header.Get("Content-Type") != "application/x-protobuf" || r.URL.Path != apiPath {
			http.Error(w, "wrong head", http.StatusBadRequest)
			return
		}
		if strings.HasSuffix(string(body), "7") {
			http.Error(w, "no "+string(body)+strings.Repeat(".", 2*maxBody), http.StatusForbidden)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	p := testPipeline(t, s.URL+apiPath)
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			body := fmt.Sprint(i)
			status, text, err := p.do(t.Context(), []byte(body))
			switch refused := strings.HasSuffix(body, "7"); {
			case err != nil:
				t.Errorf("%s: %v", body, err)
			case refused && (status != http.StatusForbidden || !strings.HasPrefix(text, "no "+body+".") || len(text) != maxBody):
				t.Errorf("%s: status %d, %d bytes", body, status, len(text))
			case !refused && status != http.StatusAccepted:
				t.Errorf("%s: status %d %s", body, status, text)
			}
		})
	}
	all.Wait()
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A connection that ends fails the calls in it; the next call makes another one.
func TestPipelineBegins(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(conn)
			for range 2 { // the second one gets no answer
				r, err := http.ReadRequest(in)
				if err != nil {
					break
				}
				if body, _ := io.ReadAll(r.Body); string(body) == "answer" {
					fmt.Fprint(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
				}
			}
			conn.Close()
		}
	}()
	p := testPipeline(t, "http://"+l.Addr().String()+apiPath)
	for range 3 {
		if status, _, err := p.do(t.Context(), []byte("answer")); status != http.StatusAccepted || err != nil {
			t.Fatalf("status %d, %v", status, err)
		}
		if _, _, err := p.do(t.Context(), []byte("hang up")); !errors.Is(err, errWireEnded) {
			t.Fatalf("got %v", err)
		}
	}
	p.close()
	if _, _, err := p.do(t.Context(), []byte("answer")); !errors.Is(err, ErrDisconnected) {
		t.Errorf("after the end: %v", err)
	}
}

// A call that gets no answer in its time takes the connection with it.
func TestPipelineGivesUp(t *testing.T) {
	asked := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		close(asked)
		<-r.Context().Done()
	}))
	defer s.Close()
	p := testPipeline(t, s.URL+apiPath)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, _, err := p.do(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wire != nil {
		if err := p.wire.conn.SetWriteDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the connection is still open: %v", err)
		}
	}
}

// A master whose answer's head does not end is given up, before it fills the memory.
func TestPipelineBoundsAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	written := make(chan int, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 202 Accepted\r\n")
		n, line := 0, "X: "+strings.Repeat("x", 1000)+"\r\n"
		for n < 64*maxAnswer && err == nil {
			_, err = io.WriteString(conn, line)
			n += len(line)
		}
		written <- n
	}()
	p := testPipeline(t, "http://"+l.Addr().String()+apiPath)
	defer p.close()
	if _, _, err := p.do(t.Context(), nil); err == nil {
		t.Error("an answer without an end was taken")
	}
	if n := <-written; n >= 64*maxAnswer {
		t.Errorf("read %d bytes of it", n)
	}
}

// Many calls from one goroutine: more than there is room for on the way, some of them refused.
func TestPipelineManyAtOnce(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); string(body) == "refused" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer s.Close()
	p := testPipeline(t, s.URL+apiPath)
	got := map[int]int{}
	err := p.doAll(t.Context(), time.Minute, 4*callsUnderWay, func(i int) ([]byte, error) {
		if i%100 == 7 {
			return []byte("refused"), nil
		}
		return []byte("taken"), nil
	}, func(status int, _ string, err error) {
		if err != nil {
			t.Error(err)
		}
		got[status]++
	})
	if err != nil || got[http.StatusAccepted] != 4*callsUnderWay-11 || got[http.StatusForbidden] != 11 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestPipelineManyGiveUp(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		<-r.Context().Done()
	}))
	defer s.Close()
	p := testPipeline(t, s.URL+apiPath)
	err := p.doAll(t.Context(), 20*time.Millisecond, 3, func(int) ([]byte, error) { return nil, nil }, func(int, string, error) { t.Error("an answer") })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAccepted(t *testing.T) {
	for text, want := range map[string]int{
		"": 0,
		"HTTP/1.1 202 Accepted\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 0\r\n\r\nHTTP/1.1 202": 81,
		"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n":                                                        0,
		"HTTP/1.1 202 Accepted\r\nContent-Length: 1\r\n\r\nx":                                                   0,
		"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n":                               0,
		"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n":                               0,
		"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                                  0,
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":                                                          0,
	} {
		in := bufio.NewReader(strings.NewReader(text))
		_, _ = in.Peek(1)
		if got := accepted(in); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

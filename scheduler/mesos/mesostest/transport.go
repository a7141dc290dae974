package mesostest

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Transport carries requests to the master without a socket, whatever host they are for. Reading a stream blocks on
// channels only, so that a synctest bubble's time can pass.
func (m *Master) Transport() http.RoundTripper { return memory{m} }

// Mux carries requests to several masters by host name ("host:port"); unknown hosts refuse the connection.
type Mux map[string]*Master

// RoundTrip implements http.RoundTripper.
func (x Mux) RoundTrip(r *http.Request) (*http.Response, error) {
	m := x[r.URL.Host]
	if m == nil {
		return nil, fmt.Errorf("dial %s: connection refused", r.URL.Host)
	}
	return memory{m}.RoundTrip(r)
}

type memory struct{ handler http.Handler }

// RoundTrip runs the handler in a goroutine that ends with the request's context or when the body is closed.
func (t memory) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	pr, pw := io.Pipe()
	w := &response{header: http.Header{}, status: make(chan int, 1), body: pw}
	stop := context.AfterFunc(ctx, func() { _ = pw.CloseWithError(context.Cause(ctx)) })
	go func() {
		defer stop()
		t.handler.ServeHTTP(w, in)
		w.WriteHeader(http.StatusOK)
		_ = pw.Close() // never fails
	}()
	select {
	case status := <-w.status:
		return &http.Response{
			Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: w.sent, Body: body{pr, cancel}, ContentLength: -1, Request: r,
		}, nil
	case <-ctx.Done():
		cancel()
		_ = pr.Close() // lets the handler's writes fail
		return nil, ctx.Err()
	}
}

// body is the client's end; closing it tells the handler that the client is gone.
type body struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b body) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// response is the handler's end; one goroutine uses it.
type response struct {
	header, sent http.Header
	status       chan int // capacity 1
	body         *io.PipeWriter
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	if w.sent == nil {
		w.sent = w.header.Clone()
		w.status <- status
	}
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if len(p) == 0 { // a pipe would wait for a reader, which net/http does not for nothing
		return 0, nil
	}
	return w.body.Write(p)
}

func (w *response) Flush() {}

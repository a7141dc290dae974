package mesos

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// pipeline sends a session's calls over one connection without waiting for the answer to one before the next goes out, as Mesos's
// own scheduler library does: a large fleet needs thousands of acknowledgements a second, each a call of its own. Whoever calls at
// the same time shares a write.
type pipeline struct {
	dial func(ctx context.Context) (net.Conn, error)
	head string // of every request, up to its Content-Length

	callers atomic.Int64 // that have something to write
	mu      sync.Mutex   // guards all below, and orders the requests
	wire    *wire        // nil: none
	closed  bool
}

// wire is one connection.
type wire struct {
	conn  net.Conn
	w     *bufio.Writer
	asked chan chan<- reply // in the order of the requests
	ended chan struct{}     // closed when nothing more will be answered
	used  time.Time
}

// reply is what came back for one request.
type reply struct {
	status int
	text   string // the beginning of the body
	err    error
}

const (
	// callsUnderWay bounds the requests that wait for their answers.
	callsUnderWay = 256
	// wireRest is how long an unused connection is trusted: a master closes idle ones some time, and what was sent into one that
	// is closing would be lost.
	wireRest = 5 * time.Second
	// maxRest is how much of a long answer is read and dropped, rather than the connection given up.
	maxRest = 1 << 20
	// maxAnswer bounds an answer with its head.
	maxAnswer = maxBody + maxRest + 64<<10
)

func newPipeline(at *url.URL, streamID, media, principal, secret string) *pipeline {
	var head strings.Builder
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nAccept: %s\r\n", at.RequestURI(), at.Host, media, media)
	if streamID != "" {
		fmt.Fprintf(&head, "%s: %s\r\n", streamHeader, streamID)
	}
	if principal != "" {
		fmt.Fprintf(&head, "Authorization: Basic %s\r\n", base64.StdEncoding.EncodeToString([]byte(principal+":"+secret)))
	}
	head.WriteString("Content-Length: ")
	address, dialer := at.Host, &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	if at.Port() == "" {
		address = net.JoinHostPort(at.Hostname(), map[string]string{"https": "443"}[at.Scheme])
		if at.Scheme == "http" {
			address = net.JoinHostPort(at.Hostname(), "80")
		}
	}
	dial := func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", address) }
	if at.Scheme == "https" {
		secure := &tls.Dialer{NetDialer: dialer, Config: &tls.Config{MinVersion: tls.VersionTLS12}}
		dial = func(ctx context.Context) (net.Conn, error) { return secure.DialContext(ctx, "tcp", address) }
	}
	return &pipeline{dial: dial, head: head.String()}
}

// do makes one request and waits for its answer. When ctx ends before that, so does the connection: a master that does not answer
// one call answers none behind it.
func (p *pipeline) do(ctx context.Context, body []byte) (status int, text string, err error) {
	answer := make(chan reply, 1)
	l, err := p.ask(ctx, body, answer)
	if err != nil {
		return 0, "", err
	}
	select {
	case r := <-answer:
		return r.status, r.text, r.err
	case <-ctx.Done():
		_ = l.conn.Close()
		return 0, "", context.Cause(ctx)
	}
}

// ask writes a request. The last of those who write at the same time sends what all have written.
func (p *pipeline) ask(ctx context.Context, body []byte, answer chan<- reply) (*wire, error) {
	p.callers.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := p.open(ctx)
	if err == nil {
		err = p.write(ctx, l, body, answer)
	}
	if p.callers.Add(-1) == 0 && p.wire != nil {
		err = errors.Join(err, p.wire.flush())
	}
	return l, err
}

func (p *pipeline) write(ctx context.Context, l *wire, body []byte, answer chan<- reply) error {
	if len(l.asked) == cap(l.asked) {
		if err := l.flush(); err != nil {
			return err
		}
	}
	select {
	case l.asked <- answer:
	case <-l.ended:
		return errWireEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	l.used = time.Now()
	if err := l.conn.SetWriteDeadline(l.used.Add(writeTimeout)); err != nil {
		return err
	}
	for _, text := range []string{p.head, fmt.Sprint(len(body)), "\r\n\r\n"} {
		if _, err := l.w.WriteString(text); err != nil {
			return l.fail(err)
		}
	}
	if _, err := l.w.Write(body); err != nil {
		return l.fail(err)
	}
	return nil
}

var errWireEnded = errors.New("the master closed the connection")

// open is the connection, made when there is none that can be trusted.
func (p *pipeline) open(ctx context.Context) (*wire, error) {
	if p.closed {
		return nil, ErrDisconnected
	}
	if l := p.wire; l != nil {
		select {
		case <-l.ended:
		default:
			if len(l.asked) > 0 || time.Since(l.used) < wireRest {
				return l, nil
			}
		}
		_ = l.conn.Close()
		p.wire = nil
	}
	conn, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	l := &wire{conn: conn, w: bufio.NewWriterSize(conn, 64<<10), asked: make(chan chan<- reply, callsUnderWay), ended: make(chan struct{}), used: time.Now()}
	p.wire = l
	go p.read(l)
	return l, nil
}

func (l *wire) flush() error {
	if err := l.w.Flush(); err != nil {
		return l.fail(err)
	}
	return nil
}

// fail ends a wire that could not be written to; its reader sees to those who wait.
func (l *wire) fail(err error) error {
	_ = l.conn.Close()
	return err
}

// read gives out the answers until the connection ends.
func (p *pipeline) read(l *wire) {
	err := l.answers()
	close(l.ended)
	_ = l.conn.Close()
	p.mu.Lock() // from here on nobody asks
	if p.wire == l {
		p.wire = nil
	}
	p.mu.Unlock()
	for {
		select {
		case answer := <-l.asked:
			answer <- reply{err: err}
		default:
			return
		}
	}
}

func (l *wire) answers() error {
	bound := &io.LimitedReader{R: l.conn}
	in, post := bufio.NewReaderSize(bound, 16<<10), &http.Request{Method: http.MethodPost}
	for {
		bound.N = maxAnswer
		if _, err := in.Peek(1); err != nil {
			return fmt.Errorf("%w: %w", errWireEnded, err)
		}
		resp, err := http.ReadResponse(in, post)
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		if n, _ := io.CopyN(io.Discard, resp.Body, maxRest); n == maxRest && err == nil {
			err = errors.New("read the answer: it does not end")
		}
		if resp.StatusCode == http.StatusContinue {
			continue
		}
		select {
		case answer := <-l.asked:
			answer <- reply{status: resp.StatusCode, text: string(text)}
		default:
			return errors.New("the master sent an answer to nothing")
		}
		if err != nil || resp.Close {
			return errors.Join(errWireEnded, err)
		}
	}
}

// close ends the connection for good.
func (p *pipeline) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.wire != nil {
		_ = p.wire.conn.Close()
	}
}

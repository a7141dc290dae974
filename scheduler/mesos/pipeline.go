package mesos

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
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
	head []byte // of every request, up to its Content-Length

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
	// renewed is when the deadline of writes was moved on last.
	renewed time.Time
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
	return &pipeline{dial: dial, head: []byte(head.String())}
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

// doAll makes many requests, from one goroutine, and gives judge the answers. It gives up when limit passes without a step forward.
// A body is used only until the next is asked for. It returns the first error that kept it from making all of them.
func (p *pipeline) doAll(ctx context.Context, limit time.Duration, n int, body func(i int) ([]byte, error), judge func(status int, text string, err error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) })
	defer patience.Stop()
	answers := make(chan reply, n)
	l, asked, err := (*wire)(nil), 0, error(nil)
	p.callers.Add(1) // nothing goes out before its time because one of them is the last to write for a moment
	for ; asked < n && err == nil; asked++ {
		var b []byte
		if b, err = body(asked); err == nil {
			l, err = p.ask(ctx, b, answers)
		}
		if err != nil {
			break
		}
		patience.Reset(limit)
	}
	p.mu.Lock()
	err = errors.Join(err, p.written())
	p.mu.Unlock()
	for range asked {
		select {
		case r := <-answers:
			judge(r.status, r.text, r.err)
			patience.Reset(limit)
		case <-ctx.Done():
			_ = l.conn.Close()
			return errors.Join(err, context.Cause(ctx))
		}
	}
	return err
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
	return l, errors.Join(err, p.written())
}

// written is for one who wrote. The caller holds mu.
func (p *pipeline) written() error {
	if p.callers.Add(-1) == 0 && p.wire != nil {
		return p.wire.flush()
	}
	return nil
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
	if l.used.Sub(l.renewed) > writeTimeout/4 {
		if err := l.conn.SetWriteDeadline(l.used.Add(writeTimeout)); err != nil {
			return err
		}
		l.renewed = l.used
	}
	var length [20]byte
	for _, part := range [][]byte{p.head, strconv.AppendInt(length[:0], int64(len(body)), 10), []byte("\r\n\r\n"), body} {
		if _, err := l.w.Write(part); err != nil {
			return l.fail(err)
		}
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
		if n := accepted(in); n > 0 {
			if err := l.answer(reply{status: http.StatusAccepted}); err != nil {
				return err
			}
			_, _ = in.Discard(n) // it is there
			continue
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
		if err := l.answer(reply{status: resp.StatusCode, text: string(text)}); err != nil {
			return err
		}
		if err != nil || resp.Close {
			return errors.Join(errWireEnded, err)
		}
	}
}

// answer gives an answer to whoever has waited longest.
func (l *wire) answer(r reply) error {
	select {
	case asked := <-l.asked:
		asked <- r
		return nil
	default:
		return errors.New("the master sent an answer to nothing")
	}
}

// accepted is how long the next answer is, if it is one that can be told from its head as it is written: nearly all are a 202 without
// a body, thousands a second, which net/http would take apart. 0: that has to.
func accepted(in *bufio.Reader) int {
	text, _ := in.Peek(min(in.Buffered(), maxPlainHead))
	end := bytes.Index(text, []byte("\r\n\r\n"))
	if end < 0 || !bytes.HasPrefix(text, []byte("HTTP/1.1 202 ")) {
		return 0
	}
	empty := false
	for line := range bytes.SplitSeq(text[:end], []byte("\r\n")) {
		switch name, value, _ := bytes.Cut(line, []byte(": ")); string(name) {
		case "Content-Length":
			if empty || string(value) != "0" {
				return 0
			}
			empty = true
		case "HTTP/1.1 202 Accepted", "Date":
		default:
			return 0
		}
	}
	if !empty {
		return 0
	}
	return end + len("\r\n\r\n")
}

// maxPlainHead is more than such an answer's head has.
const maxPlainHead = 256

// close ends the connection for good.
func (p *pipeline) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.wire != nil {
		_ = p.wire.conn.Close()
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	marathon "github.com/gambol99/go-marathon"
)

// apiClient talks to the scheduler: through go-marathon for what Marathon has, through plain HTTP for Berth's own calls and
// where the bytes must stay as they are.
type apiClient struct {
	address string // as the user wrote it
	base    string // the URL that requests go to
	http    *http.Client
	wire    *wire
	marathon.Marathon
}

func newAPIClient(ctx context.Context, address, token string) (*apiClient, error) {
	w := &wire{ctx: ctx, token: token, next: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, ResponseHeaderTimeout: 2 * time.Minute,
	}}
	a := &apiClient{address: address, wire: w, http: &http.Client{Transport: w}}
	u, err := url.Parse(address)
	switch {
	case err == nil && u.Scheme == "unix" && u.Host == "" && u.Path != "":
		a.base = "http://berth"
		w.next.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", u.Path)
		}
	case err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		a.base = strings.TrimRight(address, "/")
	default:
		return nil, fmt.Errorf("--api %q is no address of an API: unix:///PATH or http://HOST:PORT is expected", address)
	}
	config := marathon.NewDefaultConfig()
	config.URL, config.HTTPClient, config.HTTPSSEClient = a.base, a.http, a.http
	if a.Marathon, err = marathon.NewClient(config); err != nil {
		return nil, fmt.Errorf("--api %q: %w", address, err)
	}
	return a, nil
}

// wire sends the requests. It binds them to the command's context and shows the token, which go-marathon cannot, and keeps
// the last failure, which go-marathon swallows ("all the Marathon hosts are presently down").
type wire struct {
	ctx   context.Context //nolint:containedctx // go-marathon has no contexts
	token string
	next  *http.Transport
	warn  func(text string) // told of what the API says although it took a change; nil: nobody wants to know

	mu   sync.Mutex // guards last
	last error
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(w.ctx)
	if w.token != "" {
		r.Header.Set("Authorization", "Bearer "+w.token)
	}
	resp, err := w.next.RoundTrip(r)
	if err != nil {
		w.fail(err)
		return nil, err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
		_ = resp.Body.Close()
		if err != nil {
			w.fail(err)
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		w.fail(newAPIError(resp.StatusCode, body))
	}
	if w.warn != nil {
		for _, text := range warnings(resp.Header) {
			w.warn(text)
		}
	}
	return resp, nil
}

// warnings are the texts of an answer's Warning headers (RFC 7234, section 5.5: code, agent, quoted text).
func warnings(h http.Header) []string {
	var out []string
	for _, value := range h.Values("Warning") {
		_, text, _ := strings.Cut(value, ` "`)
		if text, whole := strings.CutSuffix(text, `"`); whole {
			out = append(out, strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(text))
		}
	}
	return out
}

func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = err
}

func (w *wire) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// do sends one plain request. An answer of 400 and more is an *apiError.
func (a *apiClient) do(method, path string, header http.Header, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(a.wire.ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("request %s: %w", path, err)
	}
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		r.Header[k] = v
	}
	resp, err := a.http.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		_ = resp.Body.Close()
		return nil, a.wire.failure()
	}
	return resp, nil
}

// call is do with a JSON answer.
func (a *apiClient) call(method, path string, body []byte, into any) (status int, err error) {
	resp, err := a.do(method, path, nil, body)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return resp.StatusCode, fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	return resp.StatusCode, nil
}

// explain puts what the client libraries say into words that name the thing, the reason and the way out.
func (a *apiClient) explain(err error) error {
	if errors.Is(err, errInterrupted) || errors.Is(err, errTimeout) {
		return err
	}
	var viaMarathon *marathon.APIError
	last := a.wire.failure()
	if last != nil && (errors.Is(err, marathon.ErrMarathonDown) || errors.As(err, &viaMarathon)) {
		err = replaceCause(err, last)
	}
	if a.wire.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errInterrupted
	}
	var answer *apiError
	switch {
	case errors.As(err, &answer) && answer.Status == http.StatusUnauthorized:
		return fmt.Errorf("the API at %s wants a token: set BERTH_TOKEN to what the scheduler's --token-file holds", a.address)
	case errors.As(err, &answer):
		return err
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist) && isDial(err):
		return fmt.Errorf("nothing answers at %s: is `berth standalone` running? (another address: --api or BERTH_API)", a.address)
	case errors.Is(err, fs.ErrPermission) && isDial(err):
		return fmt.Errorf("no permission to open %s: run as root, or as a member of the socket's group", a.address)
	case isDial(err):
		return fmt.Errorf("cannot reach the API at %s: %w", a.address, err)
	}
	return err
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// replaceCause keeps what a verb wrapped around an error of go-marathon and swaps the error itself.
func replaceCause(err, cause error) error {
	var w *wrapped
	if errors.As(err, &w) {
		return &wrapped{doing: w.doing, cause: cause}
	}
	return cause
}

// wrapped is an error with what was being done.
type wrapped struct {
	doing string
	cause error
}

func (w *wrapped) Error() string { return w.doing + ": " + w.cause.Error() }
func (w *wrapped) Unwrap() error { return w.cause }

// doing says what failed; nil stays nil.
func doing(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &wrapped{doing: fmt.Sprintf(format, args...), cause: err}
}

// tokenFromEnv is the token for APIs on TCP.
func tokenFromEnv() string { return os.Getenv("BERTH_TOKEN") }

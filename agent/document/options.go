// Package document keeps a host's document current: it long-polls the scheduler, keeps the last answer on disk so that a
// host starts without one, and carries the host's reports the other way. It decides nothing about what a document means.
package document

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// Options say where the scheduler is and where the document is kept.
type Options struct {
	// API is the scheduler's address: unix:///run/berth/api.sock, http://host:port or https://host:port.
	API string
	// Token goes with every request over TCP; a unix socket needs none.
	Token string
	Host  string // the name under which the scheduler knows this host
	// File keeps the last document; it holds SSH host keys and is 0600.
	File string

	// Net: for the process that keeps the host's network. Its polls say so, and which document is in force, as the scheduler counts on
	// them before it gives an address to another host.
	Net bool

	// Transport overrides how requests travel (tests). Default: to API.
	Transport http.RoundTripper
	// Wait is how long the scheduler may hold a poll open. Default 30 s.
	Wait time.Duration
	// Refresh is how often an unchanged report is repeated. Default 30 s.
	Refresh time.Duration
	// FirstBackoff and MaxBackoff bound the pause after an error. Defaults 100 ms and 5 s.
	FirstBackoff, MaxBackoff time.Duration
	Log                      logrus.FieldLogger
}

// maxDocument bounds an answer: 10 000 seats are about 20 MB.
const maxDocument = 128 << 20

// Validate fills defaults and says what is wrong.
func (o *Options) Validate() error {
	if o.Host == "" || o.File == "" || o.Log == nil {
		return errors.New("check document options: host, file and log are needed")
	}
	if _, _, err := endpoint(o.API); err != nil {
		return fmt.Errorf("check document options: %w", err)
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Wait, 30 * time.Second}, {&o.Refresh, 30 * time.Second}, {&o.FirstBackoff, 100 * time.Millisecond}, {&o.MaxBackoff, 5 * time.Second}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return nil
}

// endpoint splits an API address into the base of request URLs and, for a unix socket, its path.
func endpoint(api string) (base, socket string, err error) {
	if path, ok := strings.CutPrefix(api, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return "", "", fmt.Errorf("API address %q: the socket's path is not absolute", api)
		}
		return "http://berth", path, nil
	}
	u, err := url.Parse(api)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", "", fmt.Errorf("API address %q is neither unix:///path nor http://host:port", api)
	}
	return strings.TrimSuffix(u.Scheme+"://"+u.Host+u.Path, "/"), "", nil
}

// transport reaches the API. Proxies of the environment are not asked: the scheduler is in the same network.
func transport(socket string) http.RoundTripper {
	t := &http.Transport{IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 2, TLSHandshakeTimeout: 10 * time.Second}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	t.DialContext = dialer.DialContext
	if socket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	}
	return t
}

// backoff is the growing pause between attempts; each is cut by up to a half at random, so that a thousand hosts do not
// come back to a restarted scheduler in step.
type backoff struct{ first, max, next time.Duration }

func (b *backoff) reset() { b.next = 0 }

func (b *backoff) pause() time.Duration {
	b.next = min(max(b.first, 2*b.next), b.max)
	return b.next - time.Duration(rand.Int64N(int64(b.next)/2+1))
}

// wait pauses, and says false when ctx ended meanwhile.
func (b *backoff) wait(ctx context.Context) bool {
	t := time.NewTimer(b.pause())
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

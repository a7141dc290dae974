package mesos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/sirupsen/logrus"
)

// apiPath is where a Mesos master serves the v1 scheduler API.
const apiPath = "/api/v1/scheduler"

// Framework is how the scheduler introduces itself. It always checkpoints: without, an agent's restart kills all tasks.
type Framework struct {
	ID              string        // from an earlier Subscribed; "" for a new framework
	Name            string        // default "berth"
	User            string        // OS user of tasks that name none; default "root"
	Roles           []string      // default "*"
	Hostname        string        // where the scheduler runs, for people
	WebURL          string        // for the master's own console
	FailoverTimeout time.Duration // how long tasks outlive a lost scheduler; default a week, 0 is not possible
}

// Options configure a Client.
type Options struct {
	// Masters are tried in turn: "http://host:5050", "host:5050", or with a path other than /api/v1/scheduler. Redirects to
	// the leading master are followed.
	Masters []string
	// ZooKeeper is asked for the leading master instead.
	ZooKeeper *ZooKeeper
	Framework Framework
	// Abandon is the id of a framework that the master has removed and that an operator gives up: only when the master says
	// that this very framework is removed, the client begins anew under another id. Its tasks are gone.
	Abandon string
	// Principal and Secret are sent as basic auth when Principal is set.
	Principal, Secret string
	// JSON selects the JSON form instead of protobuf; easier to read on the wire, but values unknown to mesos-go are lost.
	JSON bool
	// CallTimeout bounds every call, and the wait for Subscribed; default 15 s.
	CallTimeout time.Duration
	// MaxRecord bounds one event on the stream; default 32 MiB (an OFFERS event of about 10,000 agents).
	MaxRecord int
	// MinBackoff and MaxBackoff bound the pause between attempts to subscribe; defaults 0.1 s and 30 s. A session that lasted
	// MaxBackoff makes the next pause short again.
	MinBackoff, MaxBackoff time.Duration
	// Transport carries the requests; default: connections of the client's own, one for the calls of a session.
	Transport http.RoundTripper
	// Rand gives numbers from [0, 1) for the backoff's jitter; default math/rand/v2.
	Rand func() float64
	Log  logrus.FieldLogger // required
}

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	setDefault(&o.Framework.Name, "berth")
	setDefault(&o.Framework.User, "root")
	setDefault(&o.Framework.FailoverTimeout, 7*24*time.Hour)
	if len(o.Framework.Roles) == 0 {
		o.Framework.Roles = []string{"*"}
	}
	setDefault(&o.CallTimeout, 15*time.Second)
	setDefault(&o.MaxRecord, 32<<20)
	setDefault(&o.MinBackoff, 100*time.Millisecond)
	setDefault(&o.MaxBackoff, 30*time.Second)
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return o
}

// dialTimeout bounds the making of a connection, and once more that of its encryption; writeTimeout a write that does not advance.
const dialTimeout, writeTimeout = 5 * time.Second, 15 * time.Second

// subscriptions makes the connections of subscriptions; calls have a pipeline.
func subscriptions() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

func setDefault[T comparable](v *T, to T) {
	if *v == *new(T) {
		*v = to
	}
}

// Validate reports everything that is wrong, after defaults.
func (o Options) Validate() error {
	var errs []error
	if (len(o.Masters) == 0) == (o.ZooKeeper == nil) {
		errs = append(errs, errors.New("either masters or ZooKeeper must be given"))
	}
	if z := o.ZooKeeper; z != nil && (len(z.Servers) == 0 || !strings.HasPrefix(z.Path, "/")) {
		errs = append(errs, errors.New("ZooKeeper needs servers and an absolute path"))
	}
	for _, m := range o.Masters {
		if _, err := masterURL(m); err != nil {
			errs = append(errs, err)
		}
	}
	if o.Log == nil {
		errs = append(errs, errors.New("no logger given"))
	}
	if o.Framework.FailoverTimeout < 0 {
		errs = append(errs, fmt.Errorf("failover timeout %s is negative", o.Framework.FailoverTimeout))
	}
	if o.MinBackoff < 0 || o.MaxBackoff < 0 || (o.MaxBackoff > 0 && o.MinBackoff > o.MaxBackoff) {
		errs = append(errs, fmt.Errorf("backoff from %s to %s is no range", o.MinBackoff, o.MaxBackoff))
	}
	if o.CallTimeout < 0 || o.MaxRecord < 0 {
		errs = append(errs, errors.New("call timeout and record size must not be negative"))
	}
	return errors.Join(errs...)
}

func (o Options) codec() encoding.Codec {
	if o.JSON {
		return codecs.ByMediaType[codecs.MediaTypeJSON]
	}
	return codecs.ByMediaType[codecs.MediaTypeProtobuf]
}

// masterURL makes the API's address of what an operator writes.
func masterURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("master %q: %w", text, err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("master %q is not http://HOST:PORT", text)
	}
	if u.User != nil {
		return nil, fmt.Errorf("master %s: give the principal and secret apart, not in the address", u.Host)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = apiPath
	}
	return u, nil
}

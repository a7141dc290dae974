package mesos

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/sirupsen/logrus"
)

// Client is one framework's connection to the engine. Run holds the subscription; calls may come from any goroutine.
type Client struct {
	opts  Options
	codec encoding.Codec
	http  *http.Client
	own   bool // no Transport was given
	log   logrus.FieldLogger

	mu          sync.Mutex // guards all below
	frameworkID string
	session     *session // nil while there is none
}

// session is one subscription, from Subscribed to its end.
type session struct {
	url      string
	streamID string
	// ctx ends with the session; calls that still wait for an answer then end as well.
	ctx context.Context
	// calls carries the session's calls; nil: Options.Transport does.
	calls *pipeline
	// offers are the resources of the outstanding offers by id, for Accept. Guarded by Client.mu.
	offers map[string]offered
}

type offered struct {
	resources []mesos.Resource
	role      string // the one of our roles that the offer is allocated to
}

// New makes a client; it connects in Run.
func New(opts Options) (*Client, error) {
	opts = opts.withDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("mesos options: %w", err)
	}
	own := opts.Transport == nil
	if own {
		opts.Transport = subscriptions()
	}
	return &Client{
		opts:  opts,
		own:   own,
		codec: opts.codec(),
		http: &http.Client{
			Transport: opts.Transport,
			// Redirects are followed by subscribe, which must know where it ends up.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		log:         opts.Log.WithField("component", "mesos"),
		frameworkID: opts.Framework.ID,
	}, nil
}

// FrameworkID is the id of the last Subscribed, or the one that was configured; "" before the first.
func (c *Client) FrameworkID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frameworkID
}

func (c *Client) begin(s *session, frameworkID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.frameworkID = s, frameworkID
}

// abandon forgets the framework's id: the next subscription is that of a new framework.
func (c *Client) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frameworkID = ""
}

func (c *Client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = nil
}

// current is the session for a call, with the framework's id.
func (c *Client) current() (*session, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return nil, "", ErrDisconnected
	}
	return c.session, c.frameworkID, nil
}

// remember keeps what Accept needs of new offers.
func (c *Client) remember(s *session, offers []mesos.Offer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range offers {
		s.offers[offers[i].ID.Value] = offered{offers[i].Resources, offers[i].GetAllocationInfo().GetRole()}
	}
}

// forget takes the offers out and returns their resources and role.
func (c *Client) forget(s *session, ids ...string) ([]mesos.Resource, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var resources []mesos.Resource
	role := ""
	for _, id := range ids {
		if o, ok := s.offers[id]; ok {
			resources = append(resources, o.resources...)
			role = o.role
			delete(s.offers, id)
		}
	}
	if role == "" {
		role = c.opts.Framework.Roles[0]
	}
	return resources, role
}

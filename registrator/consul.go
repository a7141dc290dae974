package registrator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/berth-project/berth/registrator/services"
)

// agent is the local Consul agent, in our words. Every call is for our own services only.
type agent struct {
	api *api.Agent
	o   Options
}

func newAgent(o Options) (*agent, error) {
	c := api.Config{
		Address: o.Address, Datacenter: o.Datacenter, Namespace: o.Namespace, HttpClient: o.HTTPClient,
		TLSConfig: api.TLSConfig{
			Address: o.ServerName, CAFile: o.CAFile, CertFile: o.CertFile, KeyFile: o.KeyFile, InsecureSkipVerify: o.Insecure,
		},
	}
	if o.TokenFile != "" {
		b, err := os.ReadFile(o.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the Consul token: %w", err)
		}
		if c.Token = strings.TrimSpace(string(b)); c.Token == "" {
			return nil, fmt.Errorf("read the Consul token: %s is empty", o.TokenFile)
		}
	}
	client, err := api.NewClient(&c)
	if err != nil {
		return nil, fmt.Errorf("set up the Consul client for %s: %w", o.Address, err)
	}
	return &agent{api: client.Agent(), o: o}, nil
}

// listing is what the agent has of any Berth.
type listing struct {
	ours map[string]services.Registered // with our ownership meta; after a rename of the host also with its old name
	// foreign are ids that look like ours but lack our ownership meta, as another Berth's. They are left alone.
	foreign map[string]bool
}

func (a *agent) list(ctx context.Context) (listing, error) {
	q := (&api.QueryOptions{}).WithContext(ctx)
	const pattern = `matches "^` + services.Prefix + `"` // checks have no meta to select them by
	list, err := a.api.ServicesWithFilterOpts("ID "+pattern, q)
	if err != nil {
		return listing{}, fmt.Errorf("list the Consul agent's services: %w", err)
	}
	checks, err := a.api.ChecksWithFilterOpts("ServiceID "+pattern, q)
	if err != nil {
		return listing{}, fmt.Errorf("list the Consul agent's checks: %w", err)
	}
	l := listing{ours: map[string]services.Registered{}, foreign: map[string]bool{}}
	for id, s := range list {
		switch {
		case !strings.HasPrefix(id, services.Prefix):
		case s.Meta[services.MetaOwner] != a.o.Owner:
			l.foreign[id] = true
		default:
			l.ours[id] = services.Registered{
				ID: id, Name: s.Service, Tags: s.Tags, Address: s.Address, Port: s.Port, Meta: s.Meta,
				HasCheck: checks[checkID(id)] != nil,
			}
		}
	}
	return l, nil
}

// errForeign says that somebody else holds the id of a service; errUnsent that a registration was not even tried.
var (
	errForeign = errors.New("another owner has the id")
	errUnsent  = errors.New("not sent")
)

// vacant asks whether nobody else has the id: the list may be older than another Berth's registration.
func (a *agent) vacant(ctx context.Context, id string) error {
	have, _, err := a.api.Service(id, (&api.QueryOptions{}).WithContext(ctx))
	switch {
	case code(err) == http.StatusNotFound:
		return nil
	case err != nil:
		return fmt.Errorf("%w: ask who has service %s: %w", errUnsent, id, err)
	case have.Meta[services.MetaOwner] != a.o.Owner:
		return fmt.Errorf("register service %s: %w", id, errForeign)
	}
	return nil
}

func (a *agent) register(ctx context.Context, s services.Service) error {
	r := &api.AgentServiceRegistration{
		ID: s.ID, Name: s.Name, Tags: s.Tags, Address: s.Address, Port: s.Port, Meta: s.Meta, Namespace: a.o.Namespace,
	}
	if s.Check != nil {
		r.Check = a.check(s)
	}
	return a.api.ServiceRegisterOpts(r, api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx))
}

func (a *agent) check(s services.Service) *api.AgentServiceCheck {
	c := &api.AgentServiceCheck{
		CheckID: checkID(s.ID), Name: "Health of " + s.Seat.String(), Status: status(s.Check.Passing),
		DeregisterCriticalServiceAfter: a.o.DeregisterAfter.String(),
	}
	if s.Check.TTL > 0 {
		c.TTL = s.Check.TTL.String()
		return c
	}
	c.HTTP, c.TCP = s.Check.HTTP, s.Check.TCP
	c.Interval, c.Timeout = s.Check.Interval.String(), s.Check.Timeout.String()
	// The certificate names a host name of the service; the check goes to the instance's own address.
	c.TLSSkipVerify = strings.HasPrefix(c.HTTP, "https:")
	return c
}

func (a *agent) deregister(ctx context.Context, id string) error {
	err := a.api.ServiceDeregisterOpts(id, (&api.QueryOptions{}).WithContext(ctx))
	if code(err) == http.StatusNotFound {
		return nil // gone already, which is what we want
	}
	return err
}

func (a *agent) updateTTL(ctx context.Context, id string, passing bool) error {
	note := "Berth's probe passes"
	if !passing {
		note = "Berth's probe fails"
	}
	return a.api.UpdateTTLOpts(checkID(id), note, status(passing), (&api.QueryOptions{}).WithContext(ctx))
}

// checkID is the id that Consul itself would give to a service's only check.
func checkID(service string) string { return "service:" + service }

func status(passing bool) string {
	if passing {
		return api.HealthPassing
	}
	return api.HealthCritical
}

// definite says whether a registration's outcome is known: it worked, it was refused, or it was not sent. What ran out of
// time, lost its connection or ended in a fault of the agent may have worked.
func definite(err error) bool {
	status := code(err)
	return err == nil || errors.Is(err, errForeign) || errors.Is(err, errUnsent) || status >= 400 && status < 500
}

// code is the agent's HTTP status when it answered with one; 0 when it did not answer.
func code(err error) int {
	var s api.StatusError
	if errors.As(err, &s) {
		return s.Code
	}
	return 0
}

package registrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/berth-project/berth/registrator/services"
)

// agent is the local Consul agent, in our words. Every call is for our own services only.
type agent struct {
	api    *api.Agent
	client *api.Client
	token  *token
	o      Options
	legacy *regexp.Regexp // ids that Registrator gives on this host; nil: they are nothing to us
}

func newAgent(o Options) (*agent, error) {
	c := api.Config{
		Address: o.Address, Datacenter: o.Datacenter, Namespace: o.Namespace, Partition: o.Partition, HttpClient: o.HTTPClient,
		TLSConfig: api.TLSConfig{
			Address: o.ServerName, CAFile: o.CAFile, CertFile: o.CertFile, KeyFile: o.KeyFile, InsecureSkipVerify: o.Insecure,
		},
	}
	t, err := newToken(o.TokenFile)
	if err != nil {
		return nil, err
	}
	if o.TokenFile != "" && o.HTTPClient == nil {
		c.Token = t.now() // so that one in the environment does not count
	}
	client, err := api.NewClient(&c)
	if err != nil {
		return nil, fmt.Errorf("set up the Consul client for %s: %w", o.Address, err)
	}
	a := &agent{api: client.Agent(), client: client, token: t, o: o}
	if o.Succeed {
		a.legacy = regexp.MustCompile(`^` + regexp.QuoteMeta(o.Host) + legacyRest)
	}
	return a, nil
}

// legacyRest is what Registrator puts behind the host's name: the container's name, its port, and "udp" if it is that.
const legacyRest = `:([a-zA-Z0-9][a-zA-Z0-9_.-]+):[0-9]+(:udp)?$`

// query is the options of a call.
func (a *agent) query(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{Token: a.token.now()}).WithContext(ctx)
}

// listing is what the agent has of any Berth.
type listing struct {
	ours map[string]services.Registered // with our ownership meta; after a rename of the host also with its old name
	// foreign are ids that look like ours but lack our ownership meta, as another Berth's. They are left alone.
	foreign map[string]bool
	// legacy are Registrator's services of this host -> the container's name.
	legacy map[string]string
	// host is where the agent says that its node is; not valid when nobody needs to know, or it may not be asked.
	host netip.Addr
}

// Our own services are told by our meta, whatever their ids; checks have no meta, so their ids tell them.
const (
	ownServices = `ID matches "^` + services.Prefix + `" or "` + services.MetaOwner + `" in Meta`
	ownChecks   = `CheckID matches "^((service:)?` + services.Prefix + `|` + maintenancePrefix + `)"`
)

// maintenancePrefix is what Consul puts before the id of a service for the check that is its maintenance mode.
const maintenancePrefix = "_service_maintenance:"

func (a *agent) list(ctx context.Context) (listing, error) {
	q, which := a.query(ctx), ownServices
	if a.legacy != nil {
		which += ` or ID matches ` + strconv.Quote(a.legacy.String())
	}
	list, err := a.api.ServicesWithFilterOpts(which, q)
	if err != nil {
		return listing{}, fmt.Errorf("list the Consul agent's services: %w", err)
	}
	checks, err := a.api.ChecksWithFilterOpts(ownChecks, q)
	if err != nil {
		return listing{}, fmt.Errorf("list the Consul agent's checks: %w", err)
	}
	l := listing{ours: map[string]services.Registered{}, foreign: map[string]bool{}, legacy: map[string]string{}}
	if l.host, err = a.whereabouts(ctx); err != nil {
		return listing{}, err
	}
	for id, s := range list {
		owner, ours := s.Meta[services.MetaOwner]
		switch {
		case ours && owner == a.o.Owner:
			l.ours[id] = registered(s, checks)
		case ours || strings.HasPrefix(id, services.Prefix):
			l.foreign[id] = true
		case a.legacy != nil:
			if m := a.legacy.FindStringSubmatch(id); m != nil {
				l.legacy[id] = m[1]
			}
		}
	}
	return l, nil
}

func registered(s *api.AgentService, checks map[string]*api.AgentCheck) services.Registered {
	return services.Registered{
		ID: s.ID, Name: s.Service, Tags: s.Tags, Address: s.Address, Port: s.Port, Meta: s.Meta,
		HasCheck: checks[checkID(s.ID)] != nil, Weight: s.Weights.Passing, Maintenance: maintenanceOf(s.ID, checks),
	}
}

// whereabouts is the address by which the agent's node is known. A token that may not ask costs only services that need it.
func (a *agent) whereabouts(ctx context.Context) (netip.Addr, error) {
	if a.o.HostAddress.IsValid() || a.o.Others.Others == "" || a.o.Others.Others == services.OthersNone {
		return a.o.HostAddress, nil
	}
	var self struct{ Member struct{ Addr string } }
	_, err := a.client.Raw().Query("/v1/agent/self", &self, a.query(ctx))
	if code(err) == http.StatusForbidden {
		return netip.Addr{}, nil
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ask the Consul agent for its address: %w", err)
	}
	address, err := netip.ParseAddr(self.Member.Addr)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read the Consul agent's own address: %w", err)
	}
	return address, nil
}

// errForeign says that somebody else holds the id of a service; errUnsent that a registration was not even tried.
var (
	errForeign = errors.New("another owner has the id")
	errUnsent  = errors.New("not sent")
)

// maintained is the note of the maintenance that the service is in now. The list may be older than somebody's decision at Consul,
// which a registration would end.
func (a *agent) maintained(ctx context.Context, id string) (string, error) {
	checks, err := a.api.ChecksWithFilterOpts("CheckID == "+strconv.Quote(maintenancePrefix+id), a.query(ctx))
	if err != nil {
		return "", fmt.Errorf("%w: ask whether service %s is in maintenance: %w", errUnsent, id, err)
	}
	return maintenanceOf(id, checks), nil
}

func maintenanceOf(id string, checks map[string]*api.AgentCheck) string {
	if m := checks[maintenancePrefix+id]; m != nil {
		return cmp.Or(m.Notes, "no reason was given")
	}
	return ""
}

// vacant asks whether nobody else has the id: the list may be older than another Berth's registration.
func (a *agent) vacant(ctx context.Context, id string) error {
	have, _, err := a.api.Service(id, a.query(ctx))
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
		ID: s.ID, Name: s.Name, Tags: s.Tags, Address: s.Address, Port: s.Port, Meta: s.Meta, Namespace: a.o.Namespace, Partition: a.o.Partition,
		Weights: &api.AgentWeights{Passing: max(s.Weight, 1), Warning: 1},
	}
	if s.Check != nil {
		r.Checks = append(r.Checks, a.check(s))
	}
	if s.Maintenance != "" {
		r.Checks = append(r.Checks, &api.AgentServiceCheck{
			CheckID: maintenancePrefix + s.ID, Name: "Service Maintenance Mode", Notes: s.Maintenance,
			Status: api.HealthCritical, TTL: endless.String(),
		})
	}
	return a.api.ServiceRegisterOpts(r, api.ServiceRegisterOpts{ReplaceExistingChecks: true, Token: a.token.now()}.WithContext(ctx))
}

// endless is the time to live of the check that stands for maintenance. Consul's own call makes the very same check without one,
// but a registration that replaces checks ends such a maintenance, and for a moment clients would come. In one call with the
// service it is never without.
const endless = 10 * 365 * 24 * time.Hour

func (a *agent) check(s services.Service) *api.AgentServiceCheck {
	c := &api.AgentServiceCheck{
		CheckID: checkID(s.ID), Name: "Health of " + s.Of(), Status: cmp.Or(s.Check.Status, status(s.Check.Passing)),
		DeregisterCriticalServiceAfter: cmp.Or(s.Check.DeregisterAfter, a.o.DeregisterAfter).String(),
	}
	if s.Check.TTL > 0 {
		c.TTL = s.Check.TTL.String()
		return c
	}
	c.HTTP, c.Method, c.TCP, c.GRPC, c.GRPCUseTLS = s.Check.HTTP, s.Check.Method, s.Check.TCP, s.Check.GRPC, s.Check.GRPCUseTLS
	c.Interval = s.Check.Interval.String()
	if s.Check.Timeout > 0 {
		c.Timeout = s.Check.Timeout.String()
	}
	// The certificate names a host name of the service; the check goes to the instance's own address.
	c.TLSSkipVerify = !s.Check.Verify && (c.GRPCUseTLS || strings.HasPrefix(c.HTTP, "https:"))
	return c
}

func (a *agent) deregister(ctx context.Context, id string) error {
	err := a.api.ServiceDeregisterOpts(id, a.query(ctx))
	if code(err) == http.StatusNotFound {
		return nil // gone already, which is what we want
	}
	return err
}

// errFiltered says that the catalog has more than the token may see.
var errFiltered = errors.New("the token may not see all of the catalog")

// inCatalog says whether the catalog has a service of the task with this id. Any server may answer: what one of them no longer has
// is gone for good, and none of them is burdened by it.
func (a *agent) inCatalog(ctx context.Context, name, id, task string) (bool, error) {
	q := a.query(ctx)
	q.AllowStale, q.Filter = true, "ServiceID == "+strconv.Quote(id)
	list, meta, err := a.client.Catalog().Service(name, "", q)
	if err != nil {
		return false, fmt.Errorf("ask the catalog for %s: %w", name, err)
	}
	for _, s := range list {
		if s.ServiceID == id && s.ServiceMeta[services.MetaTask] == task {
			return true, nil
		}
	}
	if meta.ResultsFilteredByACLs {
		return false, fmt.Errorf("ask the catalog for %s: %w", name, errFiltered)
	}
	return false, nil
}

func (a *agent) updateTTL(ctx context.Context, id string, passing bool) error {
	note := "Berth's probe passes"
	if !passing {
		note = "Berth's probe fails"
	}
	return a.api.UpdateTTLOpts(checkID(id), note, status(passing), a.query(ctx))
}

// checkID is the id that Consul itself would give to a service's only check. That of a service whose container chose its id
// begins with our prefix, so that it is in the list of our checks.
func checkID(service string) string {
	if strings.HasPrefix(service, services.Prefix) {
		return "service:" + service
	}
	return services.Prefix + service
}

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

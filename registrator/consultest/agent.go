// Package consultest is an in-memory Consul agent for tests: the part of the agent's HTTP API that registers services,
// with faults. It keeps services, checks and a catalog index as the real one does, so that a test sees what clients of
// Consul would see. It runs no checks: tests set their status.
package consultest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// Agent is the double. It is an http.RoundTripper (Client gives a client on it), so that it works inside a
// testing/synctest bubble, and an http.Handler.
type Agent struct {
	mu       sync.Mutex // guards all below
	services map[string]*api.AgentService
	checks   map[string]*api.AgentCheck
	index    uint64 // counts the changes that Consul's catalog would see
	calls    []string
	down     bool
	refuse   map[string]int           // service id -> HTTP status
	delay    map[string]time.Duration // service id -> time before the write works
	mute     map[string]time.Duration // service id -> time after which the write works; its caller hears nothing
	hang     bool
	lag      time.Duration                // the catalog learns of a removal so much later
	lagging  map[string]*api.AgentService // removed, and still in the catalog
	catalog  int                          // HTTP status of the catalog's answers; 0: it answers
}

// New is an agent without services.
func New() *Agent {
	a := &Agent{refuse: map[string]int{}, delay: map[string]time.Duration{}, mute: map[string]time.Duration{}, lagging: map[string]*api.AgentService{}}
	a.reset()
	return a
}

func (a *Agent) reset() {
	a.services, a.checks = map[string]*api.AgentService{}, map[string]*api.AgentCheck{}
}

// Client is an HTTP client whose every request goes to the agent.
func (a *Agent) Client() *http.Client { return &http.Client{Transport: a} }

// SetDown makes every connection fail, or work again.
func (a *Agent) SetDown(down bool) { a.with(func() { a.down = down }) }

// SetHang makes every request wait until its context ends.
func (a *Agent) SetHang(hang bool) { a.with(func() { a.hang = hang }) }

// Refuse answers writes of one service with an HTTP status; 0 ends that.
func (a *Agent) Refuse(id string, status int) { a.with(func() { a.refuse[id] = status }) }

// Delay makes writes of one service take time.
func (a *Agent) Delay(id string, d time.Duration) { a.with(func() { a.delay[id] = d }) }

// Mute makes writes of one service work after a time without an answer, also when the caller has given up; a negative time
// ends that.
func (a *Agent) Mute(id string, d time.Duration) {
	a.with(func() {
		a.mute[id] = d
		if d < 0 {
			delete(a.mute, id)
		}
	})
}

// Lag lets the catalog learn of removals later than the agent.
func (a *Agent) Lag(d time.Duration) { a.with(func() { a.lag = d }) }

// RefuseCatalog answers questions to the catalog with an HTTP status; 0 ends that.
func (a *Agent) RefuseCatalog(status int) { a.with(func() { a.catalog = status }) }

// Wipe forgets all services and checks, as an agent that lost its data folder.
func (a *Agent) Wipe() { a.with(a.reset) }

// Put registers a service behind everybody's back.
func (a *Agent) Put(s api.AgentService) {
	a.with(func() { a.services[s.ID] = &s; a.index++ })
}

// RemoveCheck drops a check behind everybody's back.
func (a *Agent) RemoveCheck(id string) { a.with(func() { delete(a.checks, id); a.index++ }) }

// Services are copies of what is registered, by id.
func (a *Agent) Services() map[string]api.AgentService {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[string]api.AgentService{}
	for id, s := range a.services {
		all[id] = *s
	}
	return all
}

// IDs are the registered ids, sorted.
func (a *Agent) IDs() []string { return slices.Sorted(maps.Keys(a.Services())) }

// Check is a copy of one check; the zero check when there is none.
func (a *Agent) Check(id string) api.AgentCheck {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.checks[id]; c != nil {
		return *c
	}
	return api.AgentCheck{}
}

// Index grows with every change that Consul's catalog would see.
func (a *Agent) Index() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.index
}

// Writes are the write calls so far, as "register ID", "deregister ID" and "update CHECK STATUS".
func (a *Agent) Writes() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

func (a *Agent) with(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// errDown is what a connection attempt says while the agent is down.
var errDown = errors.New("dial tcp 127.0.0.1:8500: connect: connection refused")

// RoundTrip answers a request without a network.
func (a *Agent) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	down, hang, wait := a.down, a.hang, a.delay[target(r)]
	late, mute := a.mute[target(r)]
	a.mu.Unlock()
	if down {
		return nil, errDown
	}
	if hang {
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	}
	if mute {
		sent := r.Clone(context.WithoutCancel(r.Context()))
		if sent.GetBody != nil {
			var err error
			if sent.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		time.AfterFunc(late, func() { a.ServeHTTP(httptest.NewRecorder(), sent) })
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	}
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w.Result(), nil
}

// target is the service id that a write is for. The body of a registration stays readable.
func target(r *http.Request) string {
	if r.Method != http.MethodPut {
		return ""
	}
	if i := strings.LastIndexByte(r.URL.Path, '/'); !strings.HasSuffix(r.URL.Path, "/register") {
		return strings.TrimPrefix(r.URL.Path[i+1:], "service:")
	}
	body, err := r.GetBody()
	if err != nil {
		return ""
	}
	var s struct{ ID string }
	if json.NewDecoder(body).Decode(&s) != nil {
		return ""
	}
	return s.ID
}

// ServeHTTP answers one call of the agent's API.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch {
	case r.URL.Path == "/v1/agent/self":
		answer(w, map[string]any{"Member": map[string]any{"Addr": Address}})
	case r.URL.Path == "/v1/agent/services":
		reply(w, a.services, r.URL.Query())
	case r.URL.Path == "/v1/agent/checks":
		reply(w, a.checks, r.URL.Query())
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v1/agent/service/"):
		a.show(w, last)
	case strings.HasPrefix(r.URL.Path, "/v1/catalog/service/"):
		a.listCatalog(w, last)
	case r.Method != http.MethodPut:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case r.URL.Path == "/v1/agent/service/register":
		a.register(w, r)
	case strings.HasPrefix(r.URL.Path, "/v1/agent/service/deregister/"):
		a.deregister(w, last)
	case strings.HasPrefix(r.URL.Path, "/v1/agent/check/update/"):
		a.update(w, r, last)
	default:
		http.NotFound(w, r)
	}
}

// reply writes the entries that the filter lets through. The double knows three forms, and "or" between them: ID matches
// "PATTERN" and ID == "TEXT" (CheckID of checks), and "KEY" in Meta.
func reply[T any](w http.ResponseWriter, all map[string]*T, q url.Values) {
	got := map[string]*T{}
	for id, v := range all {
		for part := range strings.SplitSeq(q.Get("filter"), " or ") {
			ok, err := lets(part, id, v)
			if err != nil {
				http.Error(w, "Failed to create boolean expression evaluator for "+part, http.StatusBadRequest)
				return
			}
			if ok {
				got[id] = v
			}
		}
	}
	answer(w, got)
}

func lets(part, id string, v any) (bool, error) {
	field := "ID"
	s, isService := v.(*api.AgentService)
	if !isService {
		field = "CheckID"
	}
	if part == "" {
		return true, nil
	}
	if text, ok := strings.CutSuffix(part, " in Meta"); ok && isService {
		key, err := strconv.Unquote(text)
		_, has := s.Meta[key]
		return has, err
	}
	if text, ok := strings.CutPrefix(part, field+" == "); ok {
		want, err := strconv.Unquote(text)
		return id == want, err
	}
	text, ok := strings.CutPrefix(part, field+" matches ")
	if !ok {
		return false, errors.New("unknown form")
	}
	pattern, err := strconv.Unquote(text)
	if err != nil {
		return false, err
	}
	return regexp.MustCompile(pattern).MatchString(id), nil
}

// Address is where the agent says that its node is.
const Address = "192.0.2.7"

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err) // plain structs always encode
	}
}

func (a *Agent) refused(w http.ResponseWriter, id string) bool {
	if code := a.refuse[id]; code != 0 {
		http.Error(w, "refused", code)
		return true
	}
	return false
}

func (a *Agent) register(w http.ResponseWriter, r *http.Request) {
	var s api.AgentServiceRegistration
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil || s.Name == "" {
		http.Error(w, "Missing service name", http.StatusBadRequest)
		return
	}
	a.calls = append(a.calls, "register "+s.ID)
	if a.refused(w, s.ID) {
		return
	}
	before := maps.Clone(a.checks)
	if r.URL.Query().Has("replace-existing-checks") {
		maps.DeleteFunc(a.checks, func(_ string, c *api.AgentCheck) bool { return c.ServiceID == s.ID })
	}
	a.index++
	a.services[s.ID] = &api.AgentService{ID: s.ID, Service: s.Name, Tags: s.Tags, Address: s.Address, Port: s.Port, Meta: s.Meta}
	if s.Weights != nil {
		a.services[s.ID].Weights = *s.Weights
	}
	for _, c := range s.Checks {
		kind := "ttl"
		if c.HTTP != "" {
			kind = "http"
		} else if c.TCP != "" {
			kind = "tcp"
		}
		if b := before[c.CheckID]; b != nil {
			c.Status = b.Status // as the real one keeps it
		}
		a.checks[c.CheckID] = &api.AgentCheck{
			CheckID: c.CheckID, Name: c.Name, Status: c.Status, Notes: c.Notes, ServiceID: s.ID, ServiceName: s.Name, Type: kind,
			Definition: api.HealthCheckDefinition{HTTP: c.HTTP, TCP: c.TCP, TLSSkipVerify: c.TLSSkipVerify},
		}
	}
}

func (a *Agent) show(w http.ResponseWriter, id string) {
	s := a.services[id]
	if s == nil {
		http.Error(w, fmt.Sprintf("unknown service ID: %s", id), http.StatusNotFound)
		return
	}
	answer(w, s)
}

// listCatalog answers with all services of a name. Filters only leave out some of them, so they are not heeded.
func (a *Agent) listCatalog(w http.ResponseWriter, name string) {
	if a.catalog != 0 {
		http.Error(w, "refused", a.catalog)
		return
	}
	all := maps.Clone(a.lagging)
	maps.Copy(all, a.services)
	got := []api.CatalogService{}
	for _, s := range all {
		if s.Service == name {
			got = append(got, api.CatalogService{ServiceID: s.ID, ServiceName: s.Service, ServiceAddress: s.Address, ServicePort: s.Port, ServiceMeta: s.Meta})
		}
	}
	answer(w, got)
}

func (a *Agent) deregister(w http.ResponseWriter, id string) {
	a.calls = append(a.calls, "deregister "+id)
	if a.refused(w, id) {
		return
	}
	if a.services[id] == nil {
		http.Error(w, fmt.Sprintf("Unknown service ID %q", id), http.StatusNotFound)
		return
	}
	if was := a.services[id]; a.lag > 0 {
		a.lagging[id] = was
		time.AfterFunc(a.lag, func() {
			a.with(func() {
				if a.lagging[id] == was {
					delete(a.lagging, id)
				}
			})
		})
	}
	delete(a.services, id)
	maps.DeleteFunc(a.checks, func(_ string, c *api.AgentCheck) bool { return c.ServiceID == id })
	a.index++
}

func (a *Agent) update(w http.ResponseWriter, r *http.Request, id string) {
	var u struct{ Status, Output string }
	if err := json.NewDecoder(r.Body).Decode(&u); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.calls = append(a.calls, "update "+id+" "+u.Status)
	c := a.checks[id]
	if c == nil {
		http.Error(w, fmt.Sprintf("Unknown check ID %q", id), http.StatusNotFound)
		return
	}
	if c.Status != u.Status || c.Output != u.Output {
		a.index++
	}
	c.Status, c.Output = u.Status, u.Output
}

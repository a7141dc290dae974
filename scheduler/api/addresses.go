package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"github.com/berth-project/berth/spec"
)

// Address is one row of GET /berth/v1/addresses, and the whole answer of GET /berth/v1/addresses/{ip}: what the store and the
// hosts say of an address of a pool.
type Address struct {
	Address string `json:"address"`
	Pool    string `json:"pool"`
	// State is active (leased to a seat that is wanted or has a task), idle (leased, and resting until the seat comes back) or
	// other (leased to nobody; something is on it).
	State     string             `json:"state"`
	App       spec.AppID         `json:"app,omitempty"`
	Seat      *int               `json:"seat,omitempty"`
	Hostname  string             `json:"hostname,omitempty"`
	Pinned    bool               `json:"pinned,omitempty"`
	IdleSince string             `json:"idleSince,omitempty"`
	TaskID    string             `json:"taskId,omitempty"`
	TaskState string             `json:"taskState,omitempty"`
	Since     string             `json:"since,omitempty"` // of TaskState
	Host      string             `json:"host,omitempty"`  // of the task; without one, the seat's last
	On        []AddressContainer `json:"on"`              // what the hosts say is on it
	// HeldBy is who is on it beside containers of the pools' networks, such as a host's own interface.
	HeldBy string `json:"heldBy,omitempty"`
}

// AddressContainer is what one host says of an address.
type AddressContainer struct {
	Host      string `json:"host"`
	Container string `json:"container,omitempty"` // Docker's id; "": only the kernel has something for the address
	Name      string `json:"name,omitempty"`
	TaskID    string `json:"taskId,omitempty"` // "": not Berth's
	Since     string `json:"since,omitempty"`
	Link      string `json:"link,omitempty"`
	Route     string `json:"route,omitempty"`
	Fault     string `json:"fault,omitempty"` // why packets for the address do not reach it
	Announced bool   `json:"announced"`
	ToldAt    string `json:"toldAt"` // when the host said so
}

// AddressList is the answer of GET /berth/v1/addresses.
type AddressList struct {
	Addresses []Address `json:"addresses"` // by address
	// Next is where to go on (?after=); "" at the end.
	Next string `json:"next,omitempty"`
	Now  string `json:"now"`
}

// Bounds of one answer.
const (
	defaultAddresses = 1000
	maxAddresses     = 10000
)

// addressFilter is the query of a list.
type addressFilter struct {
	pool, host string
	app        spec.AppID
	idle       bool
	after      netip.Addr
	limit      int
}

func readAddressFilter(r *http.Request) (addressFilter, error) {
	q := r.URL.Query()
	f := addressFilter{pool: q.Get("pool"), host: q.Get("host"), idle: flag(r, "idle", false), limit: defaultAddresses}
	if app := q.Get("app"); app != "" {
		f.app = appID(segments(app))
	}
	var err error
	if text := q.Get("after"); text != "" {
		if f.after, err = netip.ParseAddr(text); err != nil {
			return f, fail(http.StatusBadRequest, "after=%q is no address", text)
		}
	}
	if text := q.Get("limit"); text != "" {
		if f.limit, err = strconv.Atoi(text); err != nil || f.limit < 1 {
			return f, fail(http.StatusBadRequest, "limit=%q is no number of addresses", text)
		}
	}
	f.limit = min(f.limit, maxAddresses)
	return f, nil
}

// getAddresses is GET /berth/v1/addresses?pool=&app=&host=&idle=true&after=IP&limit=N.
func (s *Server) getAddresses(w http.ResponseWriter, r *http.Request) error {
	f, err := readAddressFilter(r)
	if err != nil {
		return err
	}
	snap, err := s.o.Backend.Snapshot(r.Context())
	if err != nil {
		return err
	}
	if f.app != "" && snap.Apps[f.app] == nil && !slices.ContainsFunc(snap.Leases, func(l spec.Lease) bool { return l.Seat.App == f.app }) {
		return appMissing(f.app)
	}
	return respond(w, r, http.StatusOK, listAddresses(snap, f))
}

func listAddresses(snap *Snapshot, f addressFilter) AddressList {
	book := newAddressBook(snap)
	out := AddressList{Addresses: []Address{}, Now: spec.FormatTime(snap.Now)}
	for _, a := range book.all() {
		if f.after.IsValid() && a.Compare(f.after) <= 0 {
			continue
		}
		row := book.row(a)
		on := row.Host == f.host || slices.ContainsFunc(row.On, func(c AddressContainer) bool { return c.Host == f.host })
		if f.pool != "" && row.Pool != f.pool || f.app != "" && row.App != f.app || f.host != "" && !on || f.idle && row.State != "idle" {
			continue
		}
		if len(out.Addresses) == f.limit {
			out.Next = out.Addresses[f.limit-1].Address
			break
		}
		out.Addresses = append(out.Addresses, row)
	}
	return out
}

// getAddress is GET /berth/v1/addresses/{ip}.
func (s *Server) getAddress(text string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		a, snap, err := s.leasable(r.Context(), text)
		if err != nil {
			return err
		}
		book := newAddressBook(snap)
		if !slices.Contains(book.all(), a) {
			if pool := poolWith(snap.Pools, a); pool != "" {
				return &NotFoundError{Message: fmt.Sprintf("%s of pool %s is leased to nobody, and no host says that something is on it", a, pool)}
			}
			return &NotFoundError{Message: fmt.Sprintf("%s is in no pool", a)}
		}
		return respond(w, r, http.StatusOK, book.row(a))
	}
}

// deleteAddress is DELETE /berth/v1/addresses/{ip}: it gives up a lease that nobody wants.
func (s *Server) deleteAddress(text string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		a, _, err := s.leasable(r.Context(), text)
		if err != nil {
			return err
		}
		l, err := s.o.Backend.ReleaseAddress(r.Context(), a)
		if err != nil {
			return err
		}
		return respond(w, r, http.StatusOK, Released{Address: a.String(), Pool: l.Pool, App: l.Seat.App, Seat: l.Seat.Index})
	}
}

// Released is the answer of DELETE /berth/v1/addresses/{ip}: whose lease it was.
type Released struct {
	Address string     `json:"address"`
	Pool    string     `json:"pool"`
	App     spec.AppID `json:"app"`
	Seat    int        `json:"seat"`
}

// leasable reads an address of a path: the one that can be leased, with what is known now.
func (s *Server) leasable(ctx context.Context, text string) (netip.Addr, *Snapshot, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return a, nil, fail(http.StatusBadRequest, "%q is no address", text)
	}
	snap, err := s.o.Backend.Snapshot(ctx)
	if err != nil {
		return a, nil, err
	}
	return leasable(snap.Pools, a.Unmap()), snap, nil
}

// leasable is the IPv4 address whose twin a is; all others are themselves.
func leasable(pools []spec.Pool, a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	for _, p := range pools {
		if four := p.CIDR.Masked().Addr(); p.CIDR6.Contains(a) && four.Is4() {
			base, low := four.As4(), a.As16()
			for i := range base {
				base[i] |= low[12+i] &^ (0xff << (8 - min(8, max(0, p.CIDR.Bits()-8*i))))
			}
			if four = netip.AddrFrom4(base); p.Twin(four) == a {
				return four
			}
		}
	}
	return a
}

// poolWith names the pool that contains the address; "" for none.
func poolWith(pools []spec.Pool, a netip.Addr) string {
	for _, p := range pools {
		if p.CIDR.Contains(a) {
			return p.Name
		}
	}
	return ""
}

// addressBook finds what is known of each address.
type addressBook struct {
	snap   *Snapshot
	leases map[netip.Addr]spec.Lease
	tasks  map[netip.Addr]*spec.Task
	on     map[netip.Addr][]AddressContainer
	held   map[netip.Addr]string
}

func newAddressBook(snap *Snapshot) *addressBook {
	b := &addressBook{snap: snap, leases: map[netip.Addr]spec.Lease{}, tasks: map[netip.Addr]*spec.Task{}, on: map[netip.Addr][]AddressContainer{}, held: map[netip.Addr]string{}}
	for _, l := range snap.Leases {
		b.leases[l.Address] = l
	}
	for _, tasks := range snap.Tasks {
		for _, t := range tasks {
			if t.Address.IsValid() && (b.tasks[t.Address] == nil || t.CreatedAt.After(b.tasks[t.Address].CreatedAt)) {
				b.tasks[t.Address] = t
			}
		}
	}
	for _, h := range snap.Hosts {
		if h.Endpoints != nil {
			for _, e := range h.Endpoints.List {
				b.on[e.Address] = append(b.on[e.Address], AddressContainer{
					Host: h.Name, Container: e.Container, Name: e.Name, TaskID: e.TaskID, Since: optionalTime(e.Since), Link: e.Link, Route: e.Route,
					Fault: e.Fault, Announced: e.Announced, ToldAt: spec.FormatTime(h.ToldAt),
				})
			}
		}
		for _, held := range h.Held {
			b.held[held.Address] = held.By + " on " + h.Name
		}
	}
	return b
}

// all are the addresses of which something is known, sorted.
func (b *addressBook) all() []netip.Addr {
	var out []netip.Addr
	for a := range b.leases {
		out = append(out, a)
	}
	for a := range b.on {
		out = append(out, a)
	}
	for a := range b.held {
		out = append(out, a)
	}
	for a := range b.tasks {
		out = append(out, a)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// row is what is known of one address.
func (b *addressBook) row(a netip.Addr) Address {
	out := Address{Address: a.String(), Pool: poolWith(b.snap.Pools, a), State: "other", On: b.on[a]}
	if len(out.On) == 0 {
		out.On, out.HeldBy = []AddressContainer{}, b.held[a]
	}
	if l, ok := b.leases[a]; ok {
		out.State, out.Pool, out.Pinned, out.IdleSince = "active", cmp.Or(l.Pool, out.Pool), l.Pinned, optionalTime(l.IdleSince)
		if !l.IdleSince.IsZero() {
			out.State = "idle"
		}
		index := l.Seat.Index
		out.App, out.Seat = l.Seat.App, &index
		out.Hostname, out.Host = b.snap.Seats[l.Seat].Hostname, b.snap.Seats[l.Seat].LastHost
	}
	if t := b.tasks[a]; t != nil {
		index := t.Seat.Index
		if out.App == "" {
			out.App, out.Seat = t.Seat.App, &index
		}
		state, since, _ := taskStory(t)
		out.TaskID, out.TaskState, out.Since, out.Host = t.ID, state, optionalTime(since), t.Host
	}
	return out
}

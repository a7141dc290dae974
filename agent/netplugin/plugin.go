// Package netplugin is Berth's IPAM driver for Docker, and in routed mode its network driver, too: Docker asks it over a unix
// socket which networks and addresses may be used, and to attach containers. It decides nothing about who gets which address
// (the scheduler leases them and names them with --ip, or leases whole blocks to the host for whoever names none); it makes
// sure that an address is used once, and says who has it otherwise. It answers from its own memory, the container inventory
// and a journal of endpoints, and never calls Docker inside a callback: the daemon holds locks while it waits for the answer.
//
// It touches no interface itself: endpoints are on disk first, then handed to whoever makes the host's network, and Docker
// is answered when that is done.
//
// Why not Docker's own IPAM driver: it gives the fixed address of a stopped container to the next one that asks.
//
// What a daemon (20.10, live-restore) does with such networks when it starts, tried: see handler.go.
package netplugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
)

// Dir is where Docker looks for the sockets of plugins.
const Dir = "/run/docker/plugins"

// Inventory tells which containers there are.
type Inventory interface {
	Get() (docker.Snapshot, <-chan struct{})
}

// Options say under which name the driver answers and where it looks.
type Options struct {
	Name      string // of the IPAM driver, and of the socket file
	Dir       string // default Dir
	Inventory Inventory
	// Forget is the time after which a granted address that no container shows is free again. Default two minutes: longer
	// than Docker needs from the grant to the start.
	Forget time.Duration
	// Journal is the file of the endpoints. With it the plugin is the network driver, too.
	Journal string
	// Found lists the endpoints that the kernel shows, to make up for a journal that is lost. Needed with Journal.
	Found func() ([]hostnet.Endpoint, error)
	// Occupied: containers are in their pool's VLAN, and this says who there has an address already; "": nobody.
	Occupied func(ctx context.Context, pool string, a netip.Addr) (string, error)
	Log      logrus.FieldLogger
}

// driverName is what fits a file name and a Docker plugin reference.
var driverName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// Validate fills defaults and says what is wrong.
func (o *Options) Validate() error {
	if !driverName.MatchString(o.Name) {
		return fmt.Errorf("check IPAM driver options: name %q is not lower-case letters, digits, - and _", o.Name)
	}
	if o.Inventory == nil || o.Log == nil {
		return errors.New("check IPAM driver options: inventory and log are needed")
	}
	if o.Journal != "" && o.Found == nil {
		return errors.New("check network driver options: a journal needs what the kernel shows beside it")
	}
	if o.Dir == "" {
		o.Dir = Dir
	}
	if o.Forget <= 0 {
		o.Forget = 2 * time.Minute
	}
	return nil
}

// Plugin is the driver.
type Plugin struct {
	o    Options
	book *book

	// The network driver's; without one journal is nil.
	journal    *journal
	publishing sync.Mutex // keeps the versions of endpoints in the order of the journal
	endpoints  watch.Value[Endpoints]
	settled    watch.Value[Settled]
	idle       map[string]time.Time // link -> since when it is idle; Settle's
}

// New makes a driver that refuses everything until Set names pools.
func New(o Options) (*Plugin, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p := &Plugin{o: o, book: newBook(), idle: map[string]time.Time{}}
	p.book.single, p.book.vlan = o.Journal != "", o.Occupied != nil
	if o.Journal == "" {
		return p, nil
	}
	found, err := o.Found()
	if err != nil {
		return nil, fmt.Errorf("look for endpoints that there are: %w", err)
	}
	if p.journal, err = openJournal(o.Journal, bootID(), found); err != nil {
		o.Log.WithError(err).WithField("endpoints", len(found)).Error("the journal of endpoints is unusable; going on with what the kernel shows")
		if err := os.Rename(o.Journal, o.Journal+".bad"); err != nil {
			return nil, fmt.Errorf("set the journal of endpoints aside: %w", err)
		}
	}
	p.publish()
	return p, nil
}

// Set replaces the pools and the host's own addresses.
func (p *Plugin) Set(s State) { p.book.set(s) }

// Listen takes the socket; it fails when another live process holds it. Serve answers on it. They are apart so that a
// caller can be sure of the socket before it goes on.
func (p *Plugin) Listen() (net.Listener, error) {
	l, err := listen(p.o.Dir, p.o.Name)
	if err != nil {
		return nil, fmt.Errorf("listen as IPAM driver %s: %w", p.o.Name, err)
	}
	return l, nil
}

// Serve answers Docker on l until ctx ends, and closes l.
func (p *Plugin) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: p.Handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	tick := time.NewTicker(p.o.Forget / 4)
	defer tick.Stop()
	for {
		snap, changed := p.o.Inventory.Get()
		for _, a := range p.book.sweep(snap, time.Now(), p.o.Forget) {
			p.o.Log.WithField("address", a).Info("address that Docker asked for and no container uses is free again")
		}
		select {
		case <-ctx.Done():
			// What Docker is just asking is answered: an error would fail the start of a container.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			err := server.Shutdown(last)
			cancel()
			if err != nil {
				err = server.Close()
			}
			<-failed //nolint:errcheck // it says that it was closed
			return err
		case err := <-failed:
			return fmt.Errorf("serve IPAM driver %s: %w", p.o.Name, err)
		case <-changed:
		case <-tick.C:
		}
	}
}

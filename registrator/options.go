package registrator

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/registrator/services"
	"github.com/berth-project/berth/spec"
)

// Inventory is the container inventory: the newest snapshot, and a channel that closes when it is no longer the newest.
type Inventory interface {
	Get() (docker.Snapshot, <-chan struct{})
}

// Options say where Consul is and what to register. Only Host, Owner, State, Inventory and Log have no
// defaults.
type Options struct {
	Host string // this host's name, which the ids of the services begin with
	// Owner is an id of this one Berth that stays for good, also when the host gets another name. It is in the meta of the
	// services, and says which are ours to change and to remove.
	Owner     string
	State     *watch.Value[spec.HostState]
	Inventory Inventory
	Log       logrus.FieldLogger

	// Alone: there is no host document, as no scheduler is asked for one. State may then be nil.
	Alone bool
	// Others is how containers that no document names are registered.
	Others services.Policy
	// HostAddress is where others reach published ports; not valid: where the Consul agent says that this node is.
	HostAddress netip.Addr
	// KeepFailed: what a container that no document names has registered stays when it fails, until somebody removes it
	// (Registrator's "-deregister on-success").
	KeepFailed bool
	// Succeed: what gliderlabs/Registrator has left of this host's containers, by its ids, is removed once the containers'
	// services are registered by us, or they are gone.
	Succeed bool

	// Address of the local Consul agent: host:port, http://, https:// or unix://. Empty: CONSUL_HTTP_ADDR, then 127.0.0.1:8500.
	// What else is empty is taken from the variables of Consul's own tools, too: CONSUL_HTTP_TOKEN, CONSUL_CACERT and so on.
	Address    string
	TokenFile  string // holds the ACL token; read again when it changes
	Datacenter string
	Namespace  string
	Partition  string
	CAFile     string // with https
	CertFile   string
	KeyFile    string
	ServerName string
	Insecure   bool         // do not verify the agent's certificate
	HTTPClient *http.Client // nil: made from the options above

	AntiEntropy     time.Duration // between comparisons with the agent's own list; 30 s
	CallTimeout     time.Duration // of one call; 5 s
	DrainLimit      time.Duration // after which a drain is acknowledged although Consul does not answer; 5 s
	DeregisterAfter time.Duration // Consul removes a service that is critical for so long; 1 h
	Workers         int           // writes at the same time, apart for registrations and for removals; 8
}

// minDeregisterAfter keeps a partition, in which all checks of a host fail at once, from emptying the catalog.
const minDeregisterAfter = 10 * time.Minute

// Validate fills in the defaults and reports every fault at once.
func (o *Options) Validate() error {
	var faults []error
	if o.Host == "" {
		faults = append(faults, errors.New("registrator: no host name"))
	}
	if o.Owner == "" || len(o.Owner) > services.MaxMetaValue {
		faults = append(faults, fmt.Errorf("registrator: the owner's id has %d characters, want 1 to %d", len(o.Owner), services.MaxMetaValue))
	}
	if o.State == nil && o.Alone {
		o.State = &watch.Value[spec.HostState]{}
	}
	if o.State == nil || o.Inventory == nil || o.Log == nil {
		faults = append(faults, errors.New("registrator: State, Inventory and Log are needed"))
	}
	setDefault(&o.AntiEntropy, 30*time.Second)
	setDefault(&o.CallTimeout, 5*time.Second)
	setDefault(&o.DrainLimit, 5*time.Second)
	setDefault(&o.DeregisterAfter, time.Hour)
	setDefault(&o.Workers, 8)
	if o.DeregisterAfter < minDeregisterAfter {
		faults = append(faults, fmt.Errorf("registrator: DeregisterAfter %v is below %v", o.DeregisterAfter, minDeregisterAfter))
	}
	if o.AntiEntropy < 0 || o.CallTimeout < 0 || o.DrainLimit < 0 || o.Workers < 0 {
		faults = append(faults, errors.New("registrator: negative times or numbers"))
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		faults = append(faults, errors.New("registrator: a certificate needs its key, and the other way round"))
	}
	return errors.Join(faults...)
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

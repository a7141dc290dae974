package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/registrator"
	"github.com/berth-project/berth/registrator/services"
	"github.com/berth-project/berth/spec"
)

// consulOptions are the flags of what registers instances and other containers in Consul.
type consulOptions struct {
	Consul           string
	ConsulTokenFile  string
	ConsulDatacenter string
	ConsulNamespace  string
	ConsulPartition  string
	ConsulCA         string
	ConsulCert       string
	ConsulKey        string
	ConsulServerName string
	ConsulInsecure   bool
	// ConsulContainers is which containers of nobody's definitions are registered; "": as suits the kind of daemon.
	ConsulContainers string
	ConsulNetwork    string
	HostIP           string
}

func (o *consulOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.Consul, "consul", "", "the local Consul agent, such as 127.0.0.1:8500, https://HOST:PORT or unix:///PATH (default: instances are not registered)")
	f.StringVar(&o.ConsulTokenFile, "consul-token-file", "", "file with the Consul ACL token; read again when it changes (default: CONSUL_HTTP_TOKEN)")
	f.StringVar(&o.ConsulDatacenter, "consul-datacenter", "", "Consul's datacenter (default: the agent's)")
	f.StringVar(&o.ConsulNamespace, "consul-namespace", "", "namespace of the services, in Consul Enterprise (default: CONSUL_NAMESPACE)")
	f.StringVar(&o.ConsulPartition, "consul-partition", "", "admin partition of the services, in Consul Enterprise (default: CONSUL_PARTITION)")
	f.StringVar(&o.ConsulCA, "consul-ca-file", "", "certificates by which the Consul agent's is verified (default: CONSUL_CACERT, then the machine's)")
	f.StringVar(&o.ConsulCert, "consul-cert-file", "", "certificate to show to the Consul agent (default: CONSUL_CLIENT_CERT)")
	f.StringVar(&o.ConsulKey, "consul-key-file", "", "its key (default: CONSUL_CLIENT_KEY)")
	f.StringVar(&o.ConsulServerName, "consul-server-name", "", "name that the Consul agent's certificate has (default: CONSUL_TLS_SERVER_NAME, then the address)")
	f.BoolVar(&o.ConsulInsecure, "consul-insecure", false, "do not verify the Consul agent's certificate")
	f.StringVar(&o.ConsulContainers, "consul-containers", "", "containers to register beside Berth's own instances: none, asking (those with SERVICE_NAME) or all (default: asking; without a scheduler: all)")
	f.StringVar(&o.ConsulNetwork, "consul-network", "", "Docker network on which such containers are reached at their own addresses")
	f.StringVar(&o.HostIP, "ip", "", "this host's address, for published ports of such containers (default: the Consul agent's own)")
}

// registrator are the options of the registrator, less what it looks at and who it is. others is what ConsulContainers is
// when nobody says.
func (o consulOptions) registrator(others services.Others) (registrator.Options, error) {
	out := registrator.Options{
		Address: o.Consul, TokenFile: o.ConsulTokenFile, Datacenter: o.ConsulDatacenter, Namespace: o.ConsulNamespace, Partition: o.ConsulPartition,
		CAFile: o.ConsulCA, CertFile: o.ConsulCert, KeyFile: o.ConsulKey, ServerName: o.ConsulServerName, Insecure: o.ConsulInsecure,
		Others: services.Policy{Others: others, Network: o.ConsulNetwork, Marathon: true},
	}
	switch which := services.Others(o.ConsulContainers); which {
	case "":
	case services.OthersNone, services.OthersAsking, services.OthersAll:
		out.Others.Others = which
	default:
		return out, fmt.Errorf("--consul-containers %q is unknown: none, asking or all", which)
	}
	if o.HostIP != "" {
		address, err := netip.ParseAddr(o.HostIP)
		if err != nil || address.IsUnspecified() {
			return out, fmt.Errorf("--ip %q is no address that others could reach", o.HostIP)
		}
		out.HostAddress = address
	}
	return out, nil
}

// dropInOptions are the flags of gliderlabs/Registrator, by their old names.
type dropInOptions struct {
	Internal      bool
	Explicit      bool
	Tags          string
	IPLabel       string
	Deregister    string
	Resync        int
	TTL           int
	TTLRefresh    int
	RetryAttempts int
	RetryInterval int
	Marathon      bool
}

// neverRetried is how many retries nobody asks for: the flag is not there.
const neverRetried = -1

func (o *dropInOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.Internal, "internal", false, "register exposed ports at the containers' own addresses rather than published ones")
	f.BoolVar(&o.Explicit, "explicit", false, "register only what SERVICE_NAME or SERVICE_<port>_NAME names")
	f.StringVar(&o.Tags, "tags", "", "tags of every such service, comma separated")
	f.StringVar(&o.IPLabel, "useIpFromLabel", "", "container label that holds the address to register")
	f.StringVar(&o.Deregister, "deregister", "always", "when exited containers leave Consul: always, or on-success (what failed stays until it is removed)")
	f.IntVar(&o.Resync, "resync", 0, "with --registrar-only: seconds between comparisons with Consul (default: 30)")
	f.IntVar(&o.TTL, "ttl", 0, "with --registrar-only: taken, without effect on Consul (as in Registrator)")
	f.IntVar(&o.TTLRefresh, "ttl-refresh", 0, "with --registrar-only: as --ttl")
	f.IntVar(&o.RetryAttempts, "retry-attempts", neverRetried, "with --registrar-only: taken, without effect: Consul is asked again until it answers")
	f.IntVar(&o.RetryInterval, "retry-interval", 2000, "with --registrar-only: as --retry-attempts")
	f.BoolVar(&o.Marathon, "marathon", true, "register tasks of a real Marathon under their app's name where SERVICE_NAME gives them none; false: under their image's")
}

// dropInFlags are the names that Registrator's command line has with one dash.
func dropInFlags() []string {
	return []string{"ip", "internal", "explicit", "tags", "useIpFromLabel", "deregister", "resync", "cleanup", "ttl", "ttl-refresh", "retry-attempts", "retry-interval"}
}

// apply puts Registrator's settings into the registrator's options.
func (o dropInOptions) apply(out *registrator.Options) error {
	var faults []error
	if o.Deregister != "always" && o.Deregister != "on-success" {
		faults = append(faults, fmt.Errorf("--deregister %q is unknown: always or on-success", o.Deregister))
	}
	tags := spec.SplitTags(o.Tags)
	for _, t := range tags {
		if len(t) > 1 && t[:2] == "{{" {
			faults = append(faults, fmt.Errorf("--tags %q: templates are not supported; give the container SERVICE_TAGS", o.Tags))
			break
		}
	}
	switch {
	case (o.TTL > 0) != (o.TTLRefresh > 0):
		faults = append(faults, errors.New("--ttl and --ttl-refresh must be given together or not at all"))
	case o.TTL > 0 && o.TTL <= o.TTLRefresh:
		faults = append(faults, errors.New("--ttl must be greater than --ttl-refresh"))
	}
	if o.RetryInterval <= 0 {
		faults = append(faults, errors.New("--retry-interval must be greater than 0"))
	}
	if o.Resync < 0 {
		faults = append(faults, errors.New("--resync must not be negative"))
	}
	out.Others.Internal, out.Others.Explicit, out.Others.Tags, out.Others.IPLabel = o.Internal, o.Explicit, tags, o.IPLabel
	out.Others.Marathon = o.Marathon
	out.KeepFailed = o.Deregister == "on-success"
	out.AntiEntropy = time.Duration(o.Resync) * time.Second
	return errors.Join(faults...)
}

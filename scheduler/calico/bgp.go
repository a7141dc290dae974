package calico

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	v3 "github.com/projectcalico/api/pkg/apis/projectcalico/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-project/berth/spec"
)

// PasswordFileAnnotation names the file on the hosts that holds the password of a BGPPeer's sessions, or, on the default
// BGPConfiguration, of the mesh. Calico keeps passwords in Kubernetes secrets, which are not there.
const PasswordFileAnnotation = "berth/bgp-password-file"

// bgpLists are the lists that calicoctl prints.
var bgpLists = []string{v3.KindBGPPeerList, v3.KindBGPConfigurationList, kindNode + "List"}

// perNode begins the name of a BGPConfiguration for one host.
const perNode = "node."

// longestRestart is what fits into the twelve bits of the graceful restart capability (RFC 4724).
const longestRestart = 4095 * time.Second

// bgpFound gathers the resources of BGP.
type bgpFound struct {
	config  *spec.BGP // of the default BGPConfiguration
	perHost map[string]spec.BGPListen
	peers   []spec.BGPPeer
	hosts   []spec.BGPHost
	names   map[string]place // "KIND NAME" -> where it stands
}

// fleet is all of them together; nil when nothing asks for BGP. As in Calico, BGP that is asked for without a configuration means the
// default one, with a mesh.
func (b *bgpFound) fleet() *spec.BGP {
	if b.config == nil && len(b.peers) == 0 && len(b.perHost) == 0 {
		return nil
	}
	out := defaultBGP()
	if b.config != nil {
		out = *b.config
	}
	out.PerHost, out.Peers, out.Hosts = b.perHost, b.peers, b.hosts
	return &out
}

func defaultBGP() spec.BGP {
	return spec.BGP{AS: spec.DefaultBGPAS, ListenPort: spec.DefaultBGPPort, Mesh: true, MeshRestart: spec.DefaultBGPRestart}
}

// once records the resource's name, which must be given only once.
func (d *decoder) once(at place, kind, name string) {
	if d.bgp.names == nil {
		d.bgp.names = map[string]place{}
	}
	switch earlier, twice := d.bgp.names[kind+" "+name]; {
	case name == "":
		d.faults.add(at, "metadata.name", "is missing")
	case twice:
		d.faults.add(at, "metadata.name", "%q is the name of the %s in %s, too", name, kind, earlier)
	}
	d.bgp.names[kind+" "+name] = at
}

// peer decodes and checks one BGPPeer.
func (d *decoder) peer(at place, h head, raw []byte) {
	var r v3.BGPPeer
	if !d.strict(at, h, raw, &r) {
		return
	}
	d.once(at, h.Kind, r.Name)
	s := r.Spec
	p := spec.BGPPeer{
		Name: r.Name, Host: s.Node, NodeSelector: strings.TrimSpace(s.NodeSelector), PeerSelector: strings.TrimSpace(s.PeerSelector), AS: uint32(s.ASNumber),
		PasswordFile: d.password(at, "spec.password", s.Password, r.ObjectMeta),
		RestartTime:  d.restart(at, "spec.maxRestartTime", s.MaxRestartTime),
	}
	if p.Host != "" && p.NodeSelector != "" {
		d.faults.add(at, "spec.nodeSelector", "cannot be together with node: which of them is meant?")
	}
	d.selector(at, "spec.nodeSelector", p.NodeSelector)
	d.selector(at, "spec.peerSelector", p.PeerSelector)
	d.remote(at, s, &p)
	switch s.SourceAddress {
	case "", v3.SourceAddressUseNodeIP:
	case v3.SourceAddressNone:
		p.NoSource = true
	default:
		d.faults.add(at, "spec.sourceAddress", "%q is not supported: want %s or %s", s.SourceAddress, v3.SourceAddressUseNodeIP, v3.SourceAddressNone)
	}
	if n := s.NumAllowedLocalASNumbers; n != nil {
		if *n < 0 || *n > 255 {
			d.faults.add(at, "spec.numAllowedLocalASNumbers", "%d is out of range: want 0 to 255", *n)
		}
		p.AllowOwnAS = int(*n)
	}
	if s.TTLSecurity != nil {
		if *s.TTLSecurity == 0 || *s.TTLSecurity == 255 {
			d.faults.add(at, "spec.ttlSecurity", "%d is out of range: want 1 (neighbours on one link) to 254", *s.TTLSecurity)
		}
		p.TTLHops = *s.TTLSecurity
	}
	if s.ReachableBy != "" {
		d.faults.add(at, "spec.reachableBy", "is not supported: give the host a route to the peer by its own means")
	}
	if len(s.Filters) > 0 {
		d.faults.add(at, "spec.filters", "are not supported: a host announces its own containers' addresses only; filter on the router")
	}
	d.bgp.peers = append(d.bgp.peers, p)
}

// remote checks with whom the peering is: an address and its AS, or hosts by their labels.
func (d *decoder) remote(at place, s v3.BGPPeerSpec, p *spec.BGPPeer) {
	switch {
	case p.PeerSelector != "":
		if s.PeerIP != "" {
			d.faults.add(at, "spec.peerIP", "cannot be together with peerSelector: which of them is meant?")
		}
		if s.ASNumber != 0 {
			d.faults.add(at, "spec.asNumber", "cannot be together with peerSelector: hosts have their own")
		}
		return
	case s.PeerIP == "":
		d.faults.add(at, "spec.peerIP", "is missing: want an address, such as 192.0.2.1 or 192.0.2.1:1179, or a peerSelector")
		return
	}
	var err error
	if p.Address, err = netip.ParseAddr(s.PeerIP); err != nil {
		var with netip.AddrPort
		with, err = netip.ParseAddrPort(s.PeerIP)
		p.Address, p.Port = with.Addr(), with.Port()
		if err == nil && p.Port == 0 {
			d.faults.add(at, "spec.peerIP", "%q: port 0 is none", s.PeerIP)
		}
	}
	p.Address = p.Address.Unmap()
	switch {
	case err != nil:
		d.faults.add(at, "spec.peerIP", "%q is not an address: want 192.0.2.1, 192.0.2.1:1179, 2001:db8::1 or [2001:db8::1]:1179", s.PeerIP)
	case !p.Address.IsGlobalUnicast(): // a zone cannot be: link-local is refused
		d.faults.add(at, "spec.peerIP", "%s cannot be a peer: want a unicast address that the hosts have a route to", p.Address)
	}
	if s.ASNumber == 0 {
		d.faults.add(at, "spec.asNumber", "is missing: want the peer's AS number, such as 65000")
	}
}

// configuration decodes and checks one BGPConfiguration: the fleet's, named default, or one host's, named node.HOST.
func (d *decoder) configuration(at place, h head, raw []byte) {
	var r v3.BGPConfiguration
	if !d.strict(at, h, raw, &r) {
		return
	}
	d.once(at, h.Kind, r.Name)
	s := r.Spec
	d.kubernetes(at, s)
	listen := spec.BGPListen{Port: s.ListenPort}
	switch {
	case s.BindMode == nil:
	case *s.BindMode == v3.BindModeNone, *s.BindMode == v3.BindModeNodeIP:
		own := *s.BindMode == v3.BindModeNodeIP
		listen.NodeIP = &own
	default:
		d.faults.add(at, "spec.bindMode", "%q is not supported: want %s or %s", *s.BindMode, v3.BindModeNone, v3.BindModeNodeIP)
	}
	if host, ok := strings.CutPrefix(r.Name, perNode); ok && host != "" {
		for _, f := range []struct {
			field string
			set   bool
		}{
			{"asNumber", s.ASNumber != nil},
			{"nodeToNodeMeshEnabled", s.NodeToNodeMeshEnabled != nil},
			{"nodeMeshMaxRestartTime", s.NodeMeshMaxRestartTime != nil},
			{"nodeMeshPassword", s.NodeMeshPassword != nil},
		} {
			if f.set {
				d.faults.add(at, "spec."+f.field, "is for the whole fleet: it belongs into the BGPConfiguration named default (a host's AS: spec.bgp.asNumber of its Node)")
			}
		}
		if d.bgp.perHost == nil {
			d.bgp.perHost = map[string]spec.BGPListen{}
		}
		d.bgp.perHost[host] = listen
		return
	}
	if r.Name != "default" && r.Name != "" {
		d.faults.add(at, "metadata.name", "%q: want default, or node.HOST for one host", r.Name)
	}
	d.bgp.config = d.fleetwide(at, r, listen)
}

// fleetwide is the default BGPConfiguration.
func (d *decoder) fleetwide(at place, r v3.BGPConfiguration, listen spec.BGPListen) *spec.BGP {
	s, b := r.Spec, defaultBGP()
	if listen.Port != 0 {
		b.ListenPort = listen.Port
	}
	b.ListenNodeIP = listen.NodeIP != nil && *listen.NodeIP
	if s.ASNumber != nil {
		if b.AS = uint32(*s.ASNumber); b.AS == 0 {
			d.faults.add(at, "spec.asNumber", "0 is no AS number")
		}
	}
	if s.NodeToNodeMeshEnabled != nil {
		b.Mesh = *s.NodeToNodeMeshEnabled
	}
	b.MeshPassword = d.password(at, "spec.nodeMeshPassword", s.NodeMeshPassword, r.ObjectMeta)
	b.MeshRestart = d.restart(at, "spec.nodeMeshMaxRestartTime", s.NodeMeshMaxRestartTime)
	if !b.Mesh && (s.NodeMeshMaxRestartTime != nil || b.MeshPassword != "") {
		d.faults.add(at, "spec.nodeToNodeMeshEnabled", "is false, but there are settings for the mesh")
	}
	return &b
}

// kubernetes refuses what only Kubernetes has, and what Berth would not honour. The log's level is the command line's.
func (d *decoder) kubernetes(at place, s v3.BGPConfigurationSpec) {
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"serviceClusterIPs", len(s.ServiceClusterIPs) > 0},
		{"serviceExternalIPs", len(s.ServiceExternalIPs) > 0},
		{"serviceLoadBalancerIPs", len(s.ServiceLoadBalancerIPs) > 0},
	} {
		if f.set {
			d.faults.add(at, "spec."+f.field, "is not supported: Berth has no Kubernetes services; every instance has an address of its own")
		}
	}
	if len(s.Communities) > 0 {
		d.faults.add(at, "spec.communities", "is not supported: tag the routes on the router")
	}
	if len(s.PrefixAdvertisements) > 0 {
		d.faults.add(at, "spec.prefixAdvertisements", "is not supported: tag the routes on the router")
	}
	if len(s.IgnoredInterfaces) > 0 {
		d.faults.add(at, "spec.ignoredInterfaces", "is not supported: Berth reads no routes from interfaces")
	}
}

// password gives the file that the annotation names. Calico's own form is refused with the way out.
func (d *decoder) password(at place, path string, p *v3.BGPPassword, m metav1.ObjectMeta) string {
	if p != nil {
		d.faults.add(at, path, "secretKeyRef is not supported, as there are no Kubernetes secrets: put the password into a file on the hosts "+
			"and name it in metadata.annotations[%q], or start them with berth net --bgp-password-file", PasswordFileAnnotation)
	}
	file, ok := m.Annotations[PasswordFileAnnotation]
	if ok && (!strings.HasPrefix(file, "/") || strings.ContainsRune(file, 0)) {
		d.faults.add(at, "metadata.annotations["+strconv.Quote(PasswordFileAnnotation)+"]", "%q is not an absolute path", file)
	}
	return file
}

// restart is the graceful restart time, in whole seconds.
func (d *decoder) restart(at place, path string, t *metav1.Duration) time.Duration {
	if t == nil {
		return spec.DefaultBGPRestart
	}
	if t.Duration < time.Second || t.Duration > longestRestart || t.Duration%time.Second != 0 {
		d.faults.add(at, path, "%s is not supported: want whole seconds, 1s to %s", t.Duration, longestRestart)
	}
	return t.Duration
}

func (d *decoder) selector(at place, path, text string) {
	if _, err := ParseSelector(text); err != nil {
		d.faults.add(at, path, "%q: %s", text, err)
	}
}

// sortedHosts is for repeatable faults and documents.
func sortedHosts(hosts []spec.BGPHost) {
	slices.SortFunc(hosts, func(a, b spec.BGPHost) int { return strings.Compare(a.Name, b.Name) })
}

package calico

import (
	"maps"
	"net/netip"

	"github.com/projectcalico/api/pkg/lib/numorstring"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-project/berth/spec"
)

const kindNode = "Node"

// node is Calico's Node, which projectcalico/api does not have: what `calicoctl get nodes -o yaml` prints.
type node struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              nodeSpec   `json:"spec"`
	Status            nodeStatus `json:"status"`
}

type nodeSpec struct {
	BGP                 *nodeBGP      `json:"bgp"`
	IPv4VXLANTunnelAddr string        `json:"ipv4VXLANTunnelAddr"`
	IPv6VXLANTunnelAddr string        `json:"ipv6VXLANTunnelAddr"`
	VXLANTunnelMACAddr  string        `json:"vxlanTunnelMACAddr"`
	OrchRefs            []nodeOrchRef `json:"orchRefs"`
	Wireguard           *struct{}     `json:"wireguard"`
	Addresses           []nodeAddress `json:"addresses"`
}

type nodeBGP struct {
	ASNumber                *numorstring.ASNumber `json:"asNumber"`
	IPv4Address             string                `json:"ipv4Address"`
	IPv6Address             string                `json:"ipv6Address"`
	IPv4IPIPTunnelAddr      string                `json:"ipv4IPIPTunnelAddr"`
	RouteReflectorClusterID string                `json:"routeReflectorClusterID"`
}

type nodeOrchRef struct {
	NodeName     string `json:"nodeName"`
	Orchestrator string `json:"orchestrator"`
}

type nodeAddress struct {
	Address string `json:"address"`
	Type    string `json:"type"`
}

type nodeStatus struct {
	WireguardPublicKey string   `json:"wireguardPublicKey"`
	PodCIDRs           []string `json:"podCIDRs"`
}

// node decodes and checks one Node: the host's labels, addresses, AS, and whether it reflects routes. The addresses of Calico's
// tunnels and what its orchestrators call the host mean nothing here.
func (d *decoder) node(at place, h head, raw []byte) {
	var n node
	if !d.strict(at, h, raw, &n) {
		return
	}
	d.once(at, h.Kind, n.Name)
	if n.Spec.Wireguard != nil {
		d.faults.add(at, "spec.wireguard", "is not supported: Berth does not encrypt between hosts")
	}
	host := spec.BGPHost{Name: n.Name, Labels: n.Labels}
	if b := n.Spec.BGP; b != nil {
		host.IPv4 = d.hostAddress(at, "spec.bgp.ipv4Address", b.IPv4Address, true)
		host.IPv6 = d.hostAddress(at, "spec.bgp.ipv6Address", b.IPv6Address, false)
		if b.ASNumber != nil {
			host.AS = uint32(*b.ASNumber)
		}
		if id := b.RouteReflectorClusterID; id != "" {
			var err error
			if host.ClusterID, err = netip.ParseAddr(id); err != nil || !host.ClusterID.Is4() {
				d.faults.add(at, "spec.bgp.routeReflectorClusterID", "%q is not of the form 224.0.0.1", id)
			}
		}
	}
	d.bgp.hosts = append(d.bgp.hosts, host)
	sortedHosts(d.bgp.hosts)
}

// hostAddress reads an address of a host; Calico writes it with or without its network's length.
func (d *decoder) hostAddress(at place, path, text string, v4 bool) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		var p netip.Prefix
		p, err = netip.ParsePrefix(text)
		a = p.Addr()
	}
	if err != nil || a.Is4() != v4 || !a.IsGlobalUnicast() {
		want := "an IPv4 address, such as 192.0.2.1 or 192.0.2.1/24"
		if !v4 {
			want = "an IPv6 address, such as 2001:db8::1 or 2001:db8::1/64"
		}
		d.faults.add(at, path, "%q is not supported: want %s", text, want)
	}
	return a
}

// HostnameLabel is a label that every host has: its name, unless its Node says otherwise.
const HostnameLabel = "kubernetes.io/hostname"

// Labels are a host's labels, of the hosts that the operators told of.
func Labels(hosts []spec.BGPHost, name string) map[string]string {
	out := map[string]string{HostnameLabel: name}
	for _, h := range hosts {
		if h.Name == name {
			maps.Copy(out, h.Labels)
		}
	}
	return out
}

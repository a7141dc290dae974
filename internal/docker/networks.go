package docker

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/network"
)

// Networks lists all networks, by name.
func (c *Client) Networks(ctx context.Context) ([]Network, error) {
	listed, err := c.api.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	out := make([]Network, 0, len(listed))
	for _, l := range listed {
		n := Network{ID: l.ID, NetworkSpec: NetworkSpec{
			Name: l.Name, Driver: l.Driver, IPAMDriver: l.IPAM.Driver, Options: l.Options, IPAMOptions: l.IPAM.Options,
			Labels: l.Labels, Internal: l.Internal,
		}}
		for _, k := range l.IPAM.Config {
			if p, err := netip.ParsePrefix(k.Subnet); err == nil && !n.Subnet.IsValid() {
				n.Subnet = p
				// An invalid gateway is the zero Addr: no gateway.
				n.Gateway, _ = netip.ParseAddr(k.Gateway)
			}
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b Network) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// CreateNetwork creates a network. The engine allows two networks of one name: callers look first.
func (c *Client) CreateNetwork(ctx context.Context, s NetworkSpec) error {
	ipam := &network.IPAM{Driver: s.IPAMDriver, Options: s.IPAMOptions}
	if s.Subnet.IsValid() {
		k := network.IPAMConfig{Subnet: s.Subnet.Masked().String()}
		if s.Gateway.IsValid() {
			k.Gateway = s.Gateway.String()
		}
		ipam.Config = []network.IPAMConfig{k}
	}
	_, err := c.api.NetworkCreate(ctx, s.Name, network.CreateOptions{
		Driver: s.Driver, IPAM: ipam, Internal: s.Internal, Options: s.Options, Labels: s.Labels,
	})
	if err != nil {
		return fmt.Errorf("create network %s: %w", s.Name, err)
	}
	return nil
}

// RemoveNetwork removes a network, by name or id. It must have no endpoints.
func (c *Client) RemoveNetwork(ctx context.Context, name string) error {
	if err := c.api.NetworkRemove(ctx, name); err != nil {
		return fmt.Errorf("remove network %s: %w", name, err)
	}
	return nil
}

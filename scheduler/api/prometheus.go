package api

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"

	"github.com/berth-project/berth/spec"
)

// targetGroup is an entry of Prometheus's HTTP service discovery.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// getPrometheusTargets is GET /berth/v1/prometheus/targets: the agents that serve Prometheus, in the form of its HTTP service
// discovery (http_sd_configs).
func (s *Server) getPrometheusTargets(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.o.Backend.Snapshot(r.Context())
	if err != nil {
		return err
	}
	body, err := encode(targetGroups(snap.Hosts, cmp.Or(s.o.Info.Cluster, spec.DefaultCluster)))
	if err != nil {
		return err
	}
	// Prometheus takes an answer of exactly this type only (its documentation, "HTTP SD").
	return respondBytes(w, r, http.StatusOK, "application/json", body)
}

// targetGroups are one for each host that is not declared dead. One that is only silent stays, so that somebody notices.
func targetGroups(hosts []HostView, cluster string) []targetGroup {
	groups := []targetGroup{}
	for _, h := range hosts {
		if target := scraped(h.Name, h.Metrics); target != "" && h.Dead.IsZero() {
			groups = append(groups, targetGroup{Targets: []string{target}, Labels: map[string]string{"__meta_berth_host": h.Name, "__meta_berth_cluster": cluster}})
		}
	}
	return groups
}

// scraped is the address at which a host's agent can be asked, if it told where it listens: by the host's name, where it does so at
// all addresses.
func scraped(host, listens string) string {
	at, port, err := net.SplitHostPort(listens)
	if err != nil || port == "" {
		return ""
	}
	if a, err := netip.ParseAddr(at); at == "" || err == nil && a.IsUnspecified() {
		at = host
	}
	return net.JoinHostPort(at, port)
}

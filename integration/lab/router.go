package lab

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// Router is the top of the rack: the hosts' only way to the office, and BIRD, which learns from them where the containers are.
type Router struct{ lab *Lab }

// Space is its namespace.
func (r *Router) Space() Space { return Space(r.lab.o.Name + "-tor") }

func (r *Router) make(ctx context.Context) error {
	if err := r.Space().add(ctx); err != nil {
		return err
	}
	if err := r.Space().set(ctx, "net.ipv4.ip_forward", "1"); err != nil {
		return err
	}
	if err := r.lab.plug(ctx, "tor", r.Space(), routerAddress); err != nil {
		return err
	}
	return r.Daemon().Start(ctx)
}

// config is BIRD's. Both ends keep the routes of a peer that restarts (RFC 4724), and forget those of one that is silent for 9 s. A start
// of BIRD leaves what the kernel has until it has heard all hosts, but no longer than they may take to restart.
func (r *Router) config() string {
	var out strings.Builder
	fmt.Fprintf(&out, `router id %s;
graceful restart wait 120;
protocol device {}
protocol direct { ipv4; interface "office"; }
protocol kernel {
	persist;
	graceful restart;
	ipv4 { import none; export where source = RTS_BGP; };
}
template bgp host {
	local %s as %d;
	hold time 9;
	connect retry time 2;
	connect delay time 1;
	error wait time 1, 2;
	graceful restart on;
	graceful restart time 120;
	ipv4 {
		import where net ~ [ %s+ ];
		export where source = RTS_DEVICE;
	};
}
`, routerAddress, routerAddress, routerAS, PoolCIDR)
	for _, h := range r.lab.Hosts {
		fmt.Fprintf(&out, "protocol bgp %s from host { neighbor %s as %d; }\n", h.Name, h.Address(), hostAS)
	}
	return out.String()
}

func (r *Router) control() string { return r.lab.path("tor", "bird.ctl") }

// Daemon is BIRD.
func (r *Router) Daemon() Daemon {
	config := r.lab.path("tor", "bird.conf")
	return Daemon{
		Name: "tor/bird", lab: r.lab, space: r.Space(), program: "bird", args: []string{"-f", "-R", "-c", config, "-s", r.control()},
		marks: []string{"-c", config},
		before: func() error {
			if err := os.MkdirAll(r.lab.path("tor"), 0o755); err != nil {
				return err
			}
			return os.WriteFile(config, []byte(r.config()), 0o600)
		},
		answers: func(ctx context.Context) error { _, err := r.Ask(ctx, "show", "status"); return err },
	}
}

// Ask asks BIRD, as birdc does.
func (r *Router) Ask(ctx context.Context, words ...string) (string, error) {
	return r.Space().Run(ctx, "birdc", append([]string{"-r", "-s", r.control()}, words...)...)
}

// Established says whether the session with a host is.
func (r *Router) Established(ctx context.Context, host string) error {
	out, err := r.Ask(ctx, "show", "protocols", host)
	if err == nil && !strings.Contains(out, "Established") {
		err = fmt.Errorf("the router's session with %s is not established: %s", host, out)
	}
	return err
}

package lab

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The lab's networks are those that are set aside for examples, so they are nobody's; its pool is in namespaces only.
const (
	routerAddress    = "192.0.2.1"
	schedulerAddress = "192.0.2.5"
	officeGateway    = "198.51.100.1"
	officeAddress    = "198.51.100.2"
	officeNetwork    = "198.51.100.0/24"
	apiPort          = "8080"

	// Pool is the name of the lab's pool, and PoolCIDR its range.
	Pool     = "berth"
	PoolCIDR = "10.88.0.0/16"

	routerAS, hostAS = 65001, 64512
)

// Fabric is the namespace of the switch and the scheduler.
func (l *Lab) Fabric() Space { return Space(l.o.Name + "-fabric") }

// Office is where the operators sit.
func (l *Lab) Office() Space { return Space(l.o.Name + "-office") }

// spaces are all namespaces of the lab.
func (l *Lab) spaces() []Space {
	all := []Space{l.Fabric(), l.Office(), l.Router.Space()}
	for _, h := range l.Hosts {
		all = append(all, h.Space())
	}
	return all
}

// Space finds a namespace by its short name, "h1" or "office".
func (l *Lab) Space(short string) (Space, error) {
	s := Space(l.o.Name + "-" + short)
	if !slices.Contains(l.spaces(), s) {
		return "", fmt.Errorf("%q is no place of the lab: h1, h2, h3, tor, office or fabric", short)
	}
	return s, nil
}

// makeFabric makes the switch. The scheduler's address is the switch's own.
func (l *Lab) makeFabric(ctx context.Context) error {
	f := l.Fabric()
	if err := f.add(ctx); err != nil {
		return err
	}
	return ip(ctx,
		[]string{"-n", string(f), "link", "add", "switch", "type", "bridge"},
		[]string{"-n", string(f), "addr", "add", schedulerAddress + "/24", "dev", "switch"},
		[]string{"-n", string(f), "link", "set", "switch", "up"},
		[]string{"-n", string(f), "route", "add", "default", "via", routerAddress},
	)
}

// plug gives a namespace an uplink eth0 on the switch.
func (l *Lab) plug(ctx context.Context, port string, s Space, address string) error {
	if err := l.Fabric().join(ctx, port, s, "eth0", address+"/24"); err != nil {
		return err
	}
	return l.connect(ctx, port, true)
}

// connect puts a port onto the switch or takes it off. The link stays up in both cases: neither end is told.
func (l *Lab) connect(ctx context.Context, port string, on bool) error {
	if on {
		return ip(ctx, []string{"-n", string(l.Fabric()), "link", "set", port, "master", "switch"})
	}
	return ip(ctx, []string{"-n", string(l.Fabric()), "link", "set", port, "nomaster"})
}

func (l *Lab) makeOffice(ctx context.Context) error {
	if err := l.Office().add(ctx); err != nil {
		return err
	}
	if err := l.Router.Space().join(ctx, "office", l.Office(), "eth0", officeAddress+"/24"); err != nil {
		return err
	}
	return ip(ctx,
		[]string{"-n", string(l.Router.Space()), "addr", "add", officeGateway + "/24", "dev", "office"},
		[]string{"-n", string(l.Office()), "route", "add", "default", "via", officeGateway},
	)
}

// writeSettings writes what the scheduler and the hosts are given: pools and peers, the API's token, the operators' key.
func (l *Lab) writeSettings(ctx context.Context) error {
	dir := filepath.Dir(l.tokenFile())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"token": "token-of-the-lab\n", "resources.yaml": l.resources()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	_, err := l.Fabric().Run(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", l.KeyFile())
	return err
}

func (l *Lab) tokenFile() string { return l.path("etc", "token") }

// KeyFile holds the operators' SSH key; KeyFile.pub, its public half, is in every instance.
func (l *Lab) KeyFile() string { return l.path("etc", "ssh_key") }

// resources are the pool, and the sessions: each host with the router, and with each other.
func (l *Lab) resources() string {
	var out strings.Builder
	fmt.Fprintf(&out, `apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: %s}
spec: {cidr: %s}
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {asNumber: %d, nodeToNodeMeshEnabled: true}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: %s, asNumber: %d}
`, Pool, PoolCIDR, hostAS, routerAddress, routerAS)
	for _, h := range l.Hosts {
		fmt.Fprintf(&out, `---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: %s, labels: {rack: r%d}}
spec: {bgp: {ipv4Address: %s/24}}
`, h.Name, h.number, h.Address())
	}
	if l.o.Resources != "" {
		fmt.Fprintf(&out, "---\n%s\n", l.o.Resources)
	}
	return out.String()
}

// Socket is the path of the API's unix socket.
func (l *Lab) Socket() string { return l.path("run", "api.sock") }

func (l *Lab) api() string { return "http://" + schedulerAddress + ":" + apiPort }

// Scheduler is `berth standalone` over the three Docker endpoints. It reaches the hosts, and they it, over the switch only, so
// that a host that is cut off is cut off from it, too.
func (l *Lab) Scheduler() Daemon {
	state := l.path("scheduler")
	args := []string{"standalone", "--state-dir", state, "--run-dir", filepath.Dir(l.Socket()), "--pools", l.path("etc", "resources.yaml"),
		"--authorized-keys", l.KeyFile() + ".pub", "--listen", schedulerAddress + ":" + apiPort, "--token-file", l.tokenFile(),
		"--ipam-name", l.o.Name + "-scheduler", "--hostname", "scheduler", "--endpoint-timeout", "5s"}
	for _, h := range l.Hosts {
		args = append(args, "--endpoint", h.endpoint())
	}
	return Daemon{
		Name: "scheduler/scheduler", lab: l, space: l.Fabric(), program: l.o.Berth, args: append(args, l.o.SchedulerFlags...),
		marks: []string{"standalone", state},
		answers: func(ctx context.Context) error {
			client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: l.Fabric().Dial}}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.api()+"/ping", nil)
			if err != nil {
				return err
			}
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
				return fmt.Errorf("it answers %s", resp.Status)
			}
			return nil
		},
	}
}

//go:build integration

package registrator

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/watch"
	"github.com/berth-project/berth/registrator/services"
)

// The ACLs that docs/consul.md names.
const registratorRules = `service_prefix "" { policy = "write" } agent_prefix "" { policy = "read" }`

const managementToken = "0c6e1b5e-7a55-4a3c-9f7d-2f4f9c1d6a10"

// TestACLAndTLS: a Consul that denies everything to whoever has no token, behind TLS that asks for a certificate; the token
// is rotated while the registrator runs.
func TestACLAndTLS(t *testing.T) {
	binary, dir := needConsul(t), t.TempDir()
	for _, args := range [][]string{{"tls", "ca", "create"}, {"tls", "cert", "create", "-server"}} {
		cmd := exec.Command(binary, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("consul %v: %v\n%s", args, err, out)
		}
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	ca, cert, key := file("consul-agent-ca.pem"), file("dc1-server-consul-0.pem"), file("dc1-server-consul-0-key.pem")
	c := consulPorts(t, binary)
	text := fmt.Sprintf(`
ports { https = %s  http = -1 }
acl { enabled = true  default_policy = "deny"  tokens { initial_management = %q  agent = %q } }
tls { https { ca_file = %q  cert_file = %q  key_file = %q  verify_incoming = true } }
`, c.ports["http"], managementToken, managementToken, ca, cert, key)
	delete(c.ports, "http")
	if err := os.WriteFile(file("consul.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.more = []string{"-config-file", file("consul.hcl")}
	var err error
	c.client, err = api.NewClient(&api.Config{
		Address: c.url, Token: managementToken,
		TLSConfig: api.TLSConfig{Address: "server.dc1.consul", CAFile: ca, CertFile: cert, KeyFile: key},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	c.start()
	newToken := func() string {
		t.Helper()
		token, _, err := c.client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{Name: "registrator"}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file("token"), []byte(token.SecretID+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return token.AccessorID
	}
	eventually(t, 20*time.Second, "the policy", func() string {
		if _, _, err := c.client.ACL().PolicyCreate(&api.ACLPolicy{Name: "registrator", Rules: registratorRules}, nil); err != nil {
			return err.Error()
		}
		return ""
	})
	first := newToken()

	var inventory watch.Value[docker.Snapshot]
	log := logrus.New()
	log.SetOutput(io.Discard)
	r, err := New(Options{
		Host: "it", Owner: "acl", Alone: true, Inventory: &inventory, Log: log, Address: c.url, TokenFile: file("token"), AntiEntropy: time.Second,
		CAFile: ca, CertFile: cert, KeyFile: key, ServerName: "server.dc1.consul", Datacenter: "dc1", Others: services.Policy{Others: services.OthersAll},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	set := func(names ...string) {
		s := docker.Snapshot{Connected: true}
		for _, name := range names {
			s.Containers = append(s.Containers, docker.Container{
				ID: "id-" + name, Name: name, Image: "it", Running: true, State: "running", NetworkMode: "bridge",
				Ports: []docker.Port{{Port: 80, Protocol: "tcp", HostIP: netip.IPv4Unspecified(), HostPort: 8080}},
			})
		}
		inventory.Set(s)
	}
	set("a", "b")
	c.wantIDs(10*time.Second, "it", "berth:it:a:80", "berth:it:b:80")

	newToken()
	if _, err := c.client.ACL().TokenDelete(first, nil); err != nil {
		t.Fatal(err)
	}
	set("b", "c")
	c.wantIDs(40*time.Second, "it", "berth:it:b:80", "berth:it:c:80")
}

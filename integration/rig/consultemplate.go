package rig

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// consulTemplateVersion is the one of examples/load-balancer/README.md.
const consulTemplateVersion = "v0.41.1"

// ConsulTemplate is where consul-template is kept, once it has been built as its users do. What its build says is the error's.
func ConsulTemplate(ctx context.Context) (program, said string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", err
	}
	// Not consul-*: that is where a Consul is looked for.
	folder := filepath.Join(cache, "berth", "tools-consul-template-"+consulTemplateVersion)
	program = filepath.Join(folder, "consul-template")
	if _, err := os.Stat(program); err == nil {
		return program, "", nil
	}
	cmd := exec.CommandContext(ctx, "go", "install", "github.com/hashicorp/consul-template@"+consulTemplateVersion)
	cmd.Dir = os.TempDir() // outside of our module
	cmd.Env = append(os.Environ(), "GOBIN="+folder, "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	return program, string(out), err
}

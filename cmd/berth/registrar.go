package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/docker"
	"github.com/berth-project/berth/internal/run"
	"github.com/berth-project/berth/registrator"
	"github.com/berth-project/berth/registrator/services"
)

// registrarFlag is the flag by which an agent is nothing but a registrator.
const registrarFlag = "registrar-only"

// dropInArgs makes Registrator's command line ours: its flags begin with one dash, which other programs of this kind take
// for single letters. Only arguments of `berth agent --registrar-only` are touched, and only names that Registrator knows.
func dropInArgs(args []string) []string {
	if len(args) == 0 || args[0] != "agent" || !slices.ContainsFunc(args, func(a string) bool { return strings.TrimPrefix(a, "-") == "-"+registrarFlag }) {
		return args
	}
	out := slices.Clone(args)
	for i, a := range out {
		if a == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(a, "-"), "=")
		if strings.HasPrefix(a, "-") && slices.Contains(dropInFlags(), name) {
			out[i] = "-" + a
		}
	}
	return out
}

// registryAddress is where Consul is, by Registrator's URI: consul://HOST:PORT, consul-tls://HOST:PORT or consul-unix:///PATH.
func registryAddress(uri string) (string, error) {
	scheme, rest, ok := strings.Cut(uri, ":")
	rest = strings.TrimPrefix(rest, "//")
	switch {
	case ok && scheme == "consul":
		return strings.TrimSuffix(rest, "/"), nil
	case ok && scheme == "consul-tls" && rest != "":
		return "https://" + strings.TrimSuffix(rest, "/"), nil
	case ok && scheme == "consul-unix" && strings.HasPrefix(rest, "/"):
		return "unix://" + rest, nil
	}
	return "", fmt.Errorf("%q is no Consul: want consul://HOST:PORT, consul-tls://HOST:PORT or consul-unix:///PATH (other registries are not supported)", uri)
}

// settleRegistrar makes the options of an agent that is nothing but a registrator.
func (o agentOptions) settleRegistrar(cmd *cobra.Command, args []string) (registrator.Options, error) {
	if len(args) == 1 && o.Consul != "" {
		return registrator.Options{}, fmt.Errorf("both --consul %s and %s: say once where Consul is", o.Consul, args[0])
	}
	if len(args) == 0 && !cmd.Flags().Changed("consul") {
		return registrator.Options{}, errors.New("where is Consul? Such as consul://127.0.0.1:8500 at the end of the command line")
	}
	var errs []error
	if len(args) == 1 {
		var err error
		o.Consul, err = registryAddress(args[0])
		errs = append(errs, err)
	}
	out, err := o.consulOptions.registrator(services.OthersAll)
	errs = append(errs, err, o.dropInOptions.apply(&out))
	out.Alone, out.Succeed = true, o.Cleanup
	out.Others.PublishedOnly = !o.Internal
	return out, errors.Join(errs...)
}

// runRegistrar registers this host's containers, and does nothing else: it needs the Docker Engine's socket and Consul, no
// other right, and keeps no state.
func runRegistrar(ctx context.Context, s settings, o registrator.Options, ownState bool) error {
	client, err := docker.New(dockerSocket(s.DockerHost))
	if err != nil {
		return fmt.Errorf("connect to the Docker Engine: %w", err)
	}
	inventory := docker.NewInventory(client, s.log.WithField("host", s.Hostname))
	o.Host, o.Inventory, o.Log = s.Hostname, inventory, s.log
	o.Owner = "not known yet"
	if _, err := registrator.New(o); err != nil { // faults of the options show at once, and not when Docker is there
		return err
	}
	if ownState {
		if err := os.MkdirAll(s.StateDir, 0o700); err != nil {
			return fmt.Errorf("prepare folders: %w", err)
		}
	}
	var group run.Group
	group.Add("inventory", inventory.Run)
	group.Add("registrator", func(ctx context.Context) error {
		if o.Owner, err = registrarID(ctx, s, client, inventory, ownState); err != nil || ctx.Err() != nil {
			return err
		}
		reg, err := registrator.New(o)
		if err != nil {
			return err
		}
		return reg.Run(ctx)
	})
	return group.Run(ctx)
}

// registrarID is by what a registrator knows its services. The Docker Engine has an id of its own, which outlives its
// restarts, the host's name and this process's container; so nothing has to be kept. With --state-dir it is an id in there.
func registrarID(ctx context.Context, s settings, client *docker.Client, inventory *docker.Inventory, ownState bool) (string, error) {
	if ownState {
		return ownID(s.StateDir)
	}
	for {
		snap, changed := inventory.Get()
		if snap.Connected {
			info, err := client.Info(ctx)
			switch {
			case err == nil && info.ID != "":
				return "docker-" + info.ID, nil
			case err == nil:
				return "", errors.New("the Docker Engine has no id by which this host's services could be told: give a --state-dir that stays")
			}
			s.log.WithError(err).Warn("The Docker Engine does not say which it is; waiting")
		}
		select {
		case <-ctx.Done():
			return "", nil
		case <-changed:
		}
	}
}

// dockerSocket is where Registrator's image has the engine's socket mounted, where that is all there is to find.
func dockerSocket(said string) string {
	const registrators = "/tmp/docker.sock"
	if said != "" || os.Getenv("DOCKER_HOST") != "" || isSocket("/var/run/docker.sock") || !isSocket(registrators) {
		return said
	}
	return "unix://" + registrators
}

func isSocket(path string) bool {
	i, err := os.Stat(path)
	return err == nil && i.Mode()&os.ModeSocket != 0
}

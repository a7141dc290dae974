package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/run"
	"github.com/berth-project/berth/scheduler/mesos"
)

// clusterOptions are the flags of `berth scheduler`.
type clusterOptions struct {
	daemonOptions
	schedulerOptions
	Mesos           string
	ZooKeeperAuth   string
	FrameworkName   string
	User            string
	Principal       string
	SecretFile      string
	FailoverTimeout time.Duration
	NewFramework    string
	HostStateDir    string
	NativeChecks    bool
}

// Where secrets may be instead of a file: never on the command line, which every user of the machine can read.
const (
	envMesosSecret   = "BERTH_MESOS_SECRET"
	envZooKeeperAuth = "BERTH_ZK_AUTH"
)

const schedulerLong = `scheduler is the framework on a Mesos cluster: the Marathon API, placement, deployments and addresses, with Mesos's agents
running the containers. Every host also needs ` + "`berth agent`" + `, which fetches what it must know from --listen with the token.
docs/mesos.md is the way from one machine to a cluster.

Masters are a list (whichever leads is found by its redirects) or the zk:// address that the masters were given.
--principal authenticates with the secret of --secret-file or ` + envMesosSecret + `; ZooKeeper's own user:password, if it
asks for one, comes from --zk-auth-file or ` + envZooKeeperAuth + `.

The framework's id is in --state-dir: a restarted scheduler is the same framework, and its tasks go on meanwhile, for
--failover-timeout at most. After that, or after a teardown, Mesos ends all tasks and answers "Framework has been removed";
the scheduler then stops and says which id to give to --new-framework, as beginning anew is for a person to decide.`

const schedulerExample = `  berth scheduler --mesos zk://zk1:2181,zk2:2181,zk3:2181/mesos --listen 10.0.0.5:8080 --token-file /etc/berth/token --pools /etc/berth/pools.yaml
  berth scheduler --mesos m1:5050,m2:5050,m3:5050 --role web --principal berth --secret-file /etc/berth/mesos-secret \
      --listen 10.0.0.5:8080 --token-file /etc/berth/token --base-image registry.example.com/berth/base:bookworm
  berth scheduler ... --new-framework 5b6f2c1e-7a41-4f0e-9d0a-3a1f9f4f0c11-0003   # that one was removed, and may be given up`

func newSchedulerCommand(c *cli) *cobra.Command {
	var o clusterOptions
	cmd := &cobra.Command{
		Use: "scheduler", Short: "Run the scheduler of a Mesos cluster", Long: schedulerLong, Example: schedulerExample,
		Args: cobra.NoArgs, GroupID: groupDaemons,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, e, err := o.settle(c)
			if err != nil {
				return err
			}
			if err := runScheduler(cmd.Context(), s, e); err != nil {
				return &failure{err}
			}
			return nil
		},
	}
	o.daemonOptions.register(cmd)
	o.schedulerOptions.register(cmd)
	f := cmd.Flags()
	f.StringVar(&o.Mesos, "mesos", "", "the masters: HOST:PORT,HOST:PORT or zk://HOST:PORT,HOST:PORT/PATH (required)")
	f.StringVar(&o.ZooKeeperAuth, "zk-auth-file", "", "file with ZooKeeper's USER:PASSWORD, if it asks for one ("+envZooKeeperAuth+")")
	f.StringVar(&o.FrameworkName, "framework-name", "berth", "name of the framework, for people")
	f.StringArrayVar(&o.Roles, "role", nil, "role whose resources to use, the first for definitions that name none (repeatable; default: *, which is every agent's unreserved resources)")
	f.StringVar(&o.User, "mesos-user", "root", "user of the hosts as whom Mesos's executors run")
	f.StringVar(&o.Principal, "principal", "", "name under which the framework authenticates to the masters")
	f.StringVar(&o.SecretFile, "secret-file", "", "file with the principal's secret ("+envMesosSecret+")")
	f.DurationVar(&o.FailoverTimeout, "failover-timeout", 7*24*time.Hour, "how long Mesos keeps the tasks without a scheduler")
	f.StringVar(&o.NewFramework, "new-framework", "", "id of a framework that Mesos has removed: begin a new one instead of it")
	f.StringVar(&o.HostStateDir, "host-state-dir", "/var/lib/berth", "--state-dir of the agents, the same on all hosts")
	f.BoolVar(&o.NativeChecks, "native-checks", true, "have Mesos's executors perform COMMAND and MESOS_* health checks; otherwise the hosts' agents do")
	return cmd
}

// settle reads and checks everything that the flags name; it finds every fault, not just the first.
func (o clusterOptions) settle(c *cli) (settings, engineSide, error) {
	s := settings{standaloneOptions: standaloneOptions{daemonOptions: o.daemonOptions, schedulerOptions: o.schedulerOptions}}
	errs := []error{s.settleDaemon(c), s.settleScheduler()}
	if o.Listen == "" {
		errs = append(errs, errors.New("--listen is needed: the hosts' agents fetch there what they must know"))
	}
	e := engineSide{hostStateDir: o.HostStateDir, nativeChecks: o.NativeChecks, roles: o.Roles}
	if len(e.roles) == 0 {
		e.roles = []string{"*"}
	}
	e.mesos.Framework = mesos.Framework{Name: o.FrameworkName, User: o.User, Roles: e.roles, FailoverTimeout: o.FailoverTimeout}
	e.mesos.Principal, e.mesos.Abandon = o.Principal, o.NewFramework
	if o.FailoverTimeout < time.Minute {
		errs = append(errs, fmt.Errorf("--failover-timeout %s is too short: a restart of the scheduler would end all tasks", o.FailoverTimeout))
	}
	var err error
	if e.mesos.Masters, e.mesos.ZooKeeper, err = mesos.ParseMasters(o.Mesos); err != nil {
		errs = append(errs, fmt.Errorf("--mesos: %w", err))
	}
	if e.mesos.Secret, err = secretFrom("--secret-file", o.SecretFile, envMesosSecret); err != nil {
		errs = append(errs, err)
	}
	if (o.Principal == "") != (e.mesos.Secret == "") {
		errs = append(errs, fmt.Errorf("--principal and its secret (--secret-file or %s) go together", envMesosSecret))
	}
	auth, err := secretFrom("--zk-auth-file", o.ZooKeeperAuth, envZooKeeperAuth)
	if err != nil {
		errs = append(errs, err)
	}
	if e.mesos.ZooKeeper != nil {
		e.mesos.ZooKeeper.Auth = auth
	}
	return s, e, errors.Join(errs...)
}

// secretFrom reads a secret from the file that the flag names, otherwise from the environment.
func secretFrom(flag, file, env string) (string, error) {
	if file == "" {
		return os.Getenv(env), nil
	}
	secret, err := readSecret(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	return secret, nil
}

func runScheduler(ctx context.Context, s settings, e engineSide) error {
	err := s.serve(ctx, "scheduler.pid", func() (*run.Group, error) {
		c := &composition{settings: s}
		if _, err := c.addScheduler(ctx, e); err != nil {
			return nil, err
		}
		return &c.group, nil
	})
	if errors.Is(err, mesos.ErrFrameworkRemoved) {
		return fmt.Errorf("%w: Mesos ended all its tasks. To begin a new framework with the same apps, addresses and names, start once with --new-framework and the id above", err)
	}
	return err
}

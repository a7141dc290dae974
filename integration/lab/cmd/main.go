// Lab starts, stops and breaks the three-host lab by hand: `make lab`, then `scripts/lab`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/integration/lab"
)

const long = `lab is a rack on one machine: three hosts (h1, h2, h3), each a network namespace with a Docker Engine, a "berth net" and a
"berth agent" of its own, one scheduler over them, a top-of-rack router with BIRD (tor), and an office behind it.

A PLACE is h1, h2, h3, tor, office or fabric (the switch, and the scheduler). A PART, which can be killed and started again, is
scheduler, tor, a host, or one process of a host: h1/agent, h1/net, h1/dockerd.`

const example = `  scripts/lab up                          # the same as "make lab"
  . <(scripts/lab env)                    # berth apply, berth ps ... now speak with the lab's scheduler
  scripts/lab ssh 10.88.0.0               # from the office
  scripts/lab shell h1                    # docker, ip, nft ... as on that host
  scripts/lab exec tor ip route show proto bird
  scripts/lab kill h1 && scripts/lab start h1
  scripts/lab cut h2 && scripts/lab heal h2
  scripts/lab down`

func main() {
	// A second signal ends it at once: the next `down` clears up.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && strings.HasPrefix(err.Error(), "exit status") { // what was run has said why
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var dir string
	root := &cobra.Command{
		Use: "lab", Short: "Three hosts, a router and an office on this machine", Long: long, Example: example,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) (err error) {
			if os.Getuid() != 0 {
				return errors.New("the lab needs root: it makes network namespaces and runs Docker Engines")
			}
			dir, err = filepath.Abs(dir)
			return err
		},
	}
	root.PersistentFlags().StringVar(&dir, "dir", "/var/lib/berth-lab", "folder of the lab")
	opened := func(run func(ctx context.Context, l *lab.Lab, args []string) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(dir)
			if err != nil {
				return err
			}
			return run(cmd.Context(), l, args)
		}
	}
	root.AddCommand(upCommand(&dir), downCommand(&dir))
	root.AddCommand(
		&cobra.Command{Use: "status", Short: "What runs, and the router's sessions", Args: cobra.NoArgs, RunE: opened(func(ctx context.Context, l *lab.Lab, _ []string) error {
			fmt.Print(l.Status(ctx))
			return nil
		})},
		&cobra.Command{Use: "env", Short: "Settings for a shell: the API, and berth on the PATH", Args: cobra.NoArgs, RunE: opened(func(_ context.Context, l *lab.Lab, _ []string) error {
			fmt.Printf("export BERTH_API=unix://%s\nPATH=%s:$PATH\n", l.Socket(), filepath.Dir(l.Program()))
			return nil
		})},
		&cobra.Command{Use: "shell PLACE", Short: "A shell there", Args: cobra.ExactArgs(1), RunE: opened(func(ctx context.Context, l *lab.Lab, args []string) error {
			return inside(ctx, l, args[0], "bash", "--norc")
		})},
		&cobra.Command{Use: "exec PLACE COMMAND...", Short: "Run a command there", Args: cobra.MinimumNArgs(2), RunE: opened(func(ctx context.Context, l *lab.Lab, args []string) error {
			return inside(ctx, l, args[0], args[1], args[2:]...)
		})},
		&cobra.Command{Use: "ssh ADDRESS [COMMAND...]", Short: "Log in to an instance, from the office", Args: cobra.MinimumNArgs(1), RunE: opened(func(ctx context.Context, l *lab.Lab, args []string) error {
			return inside(ctx, l, "office", "ssh", append([]string{"-i", l.KeyFile(), "-o", "UserKnownHostsFile=" + filepath.Join(dir, "etc", "known_hosts"),
				"-o", "StrictHostKeyChecking=accept-new", "root@" + args[0]}, args[1:]...)...)
		})},
		&cobra.Command{Use: "kill PART", Short: "End it without a warning (kill -9; of a host, power off)", Args: cobra.ExactArgs(1), RunE: opened(func(ctx context.Context, l *lab.Lab, args []string) error {
			return l.Kill(ctx, args[0])
		})},
		&cobra.Command{Use: "start PART", Short: "Start it again", Args: cobra.ExactArgs(1), RunE: opened(func(ctx context.Context, l *lab.Lab, args []string) error {
			return l.Start(ctx, args[0])
		})},
		&cobra.Command{Use: "cut HOST", Short: "Pull a host's cable out of the switch, unnoticed by both ends", Args: cobra.ExactArgs(1), RunE: opened(func(ctx context.Context, l *lab.Lab, args []string) error {
			h, err := l.Host(args[0])
			if err != nil {
				return err
			}
			return h.Cut(ctx)
		})},
		&cobra.Command{Use: "heal HOST", Short: "Put it in again", Args: cobra.ExactArgs(1), RunE: opened(func(ctx context.Context, l *lab.Lab, args []string) error {
			h, err := l.Host(args[0])
			if err != nil {
				return err
			}
			return h.Heal(ctx)
		})},
	)
	for _, c := range root.Commands() {
		if c.Name() == "exec" || c.Name() == "ssh" {
			c.Flags().SetInterspersed(false) // what follows is the other command's
		}
	}
	return root
}

func upCommand(dir *string) *cobra.Command {
	var o lab.Options
	var resources string
	cmd := &cobra.Command{Use: "up", Short: "Start it; takes some ten seconds", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		o.Dir, o.Progress = *dir, os.Stderr
		var err error
		if o.Berth, err = exec.LookPath(o.Berth); err != nil {
			return fmt.Errorf("find berth: %w (make build)", err)
		}
		if o.Berth, err = filepath.Abs(o.Berth); err != nil {
			return err
		}
		if resources != "" {
			text, err := os.ReadFile(resources)
			if err != nil {
				return err
			}
			o.Resources = string(text)
		}
		l, err := lab.Up(cmd.Context(), o)
		if err != nil {
			return err
		}
		fmt.Print(l.Status(cmd.Context()), "\n", strings.ReplaceAll(example[strings.Index(example, "  ."):], "10.88.0.0", "ADDRESS"), "\n")
		return nil
	}}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", "lab", "what the names of its network namespaces begin with")
	f.StringVar(&o.Berth, "berth", "berth", "the program")
	f.StringSliceVar(&o.Images, "image", nil, "image of the machine's Docker Engine that the hosts get (repeatable)")
	f.StringVar(&resources, "resources", "", "file with more Calico resources: pools, policies")
	f.StringArrayVar(&o.SchedulerFlags, "scheduler-flag", nil, "one more argument of berth standalone (repeatable)")
	f.StringArrayVar(&o.NetFlags, "net-flag", nil, "one more argument of each berth net (repeatable)")
	return cmd
}

func downCommand(dir *string) *cobra.Command {
	return &cobra.Command{Use: "down", Short: "End it, whatever is left of it; leave nothing behind", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		l, err := lab.Open(*dir)
		if errors.Is(err, lab.ErrNone) {
			return nil
		}
		if err != nil {
			return err
		}
		return l.Down(cmd.Context())
	}}
}

// inside runs a command in a place, with this terminal.
func inside(ctx context.Context, l *lab.Lab, place, name string, args ...string) error {
	space, err := l.Space(place)
	if err != nil {
		return err
	}
	cmd := space.Command(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "BERTH_API=unix://"+l.Socket(), "PS1="+place+"# ")
	if h, err := l.Host(place); err == nil {
		cmd.Env = append(cmd.Env, "DOCKER_HOST="+h.Engine())
	}
	return cmd.Run()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/berth-project/berth/images/builder"
	"github.com/berth-project/berth/images/recipe"
)

// cli is what all verbs share: the streams and the flags of the root command. Results go to out, everything that is said
// to the person at the keyboard goes to err.
type cli struct {
	in       io.Reader
	out, err io.Writer
	// tty says whether a person watches: progress is then drawn in place, and waiting is the default.
	tty     bool
	width   int // of the terminal, in characters; 0: unknown
	address string
	output  string
}

func newCLI(in, out, err *os.File) *cli {
	c := &cli{in: in, out: out, err: err, tty: term.IsTerminal(int(out.Fd())) && term.IsTerminal(int(err.Fd()))}
	if width, _, sizeErr := term.GetSize(int(err.Fd())); sizeErr == nil {
		c.width = width
	}
	return c
}

const defaultAPI = "unix:///run/berth/api.sock"

const rootLong = `Berth runs containers that feel like machines: each instance of an app has an address, a host name and SSH host keys
of its own, which stay through restarts. Apps are Marathon JSON definitions.

The verbs talk to the scheduler through --api (or BERTH_API): unix:///run/berth/api.sock, or http://HOST:PORT with the
token in BERTH_TOKEN.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused (the definition is invalid, the id or the image's version
exists, the app is locked by a deployment), 4 the wait timed out, 130 interrupted.`

// newRootCommand builds the whole command line.
func newRootCommand(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:           "berth",
		Short:         "Containers with an address, an init and a name of their own",
		Long:          rootLong,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if c.output != "table" && c.output != "json" {
				return fmt.Errorf("--output %q is unknown: table or json", c.output)
			}
			return nil
		},
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	address := os.Getenv("BERTH_API")
	if address == "" {
		address = defaultAPI
	}
	root.PersistentFlags().StringVar(&c.address, "api", address, "where the scheduler's API is (BERTH_API)")
	root.PersistentFlags().StringVarP(&c.output, "output", "o", "table", "form of the result: table or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddGroup(&cobra.Group{ID: groupDaemons, Title: "Daemons:"}, &cobra.Group{ID: groupApps, Title: "Apps:"}, &cobra.Group{ID: groupLook, Title: "Looking:"}, &cobra.Group{ID: groupImages, Title: "Images:"})
	root.AddCommand(
		newApplyCommand(c), newScaleCommand(c), newResizeCommand(c), newRestartCommand(c), newMaintenanceCommand(c), newWeightCommand(c), newRemoveCommand(c),
		newPsCommand(c), newSSHCommand(c), newLogsCommand(c), newDriftCommand(c), newEventsCommand(c), newDeploymentsCommand(c), newQueueCommand(c), newWhyCommand(c), newIPCommand(c), newPolicyCommand(c), newHostCommand(c),
		newBuildCommand(c), newImageCommand(c),
		newStandaloneCommand(c), newSchedulerCommand(c), newAgentCommand(c), newNetCommand(c), newZabbixCommand(c), newZabbixParametersCommand(c, "zabbix-parameters"), newMonitorCommand(c), newVersionCommand(c),
	)
	return root
}

// The groups of verbs in the help text.
const (
	groupDaemons = "daemons"
	groupApps    = "apps"
	groupLook    = "look"
	groupImages  = "images"
)

// verb wraps the body of a command: its errors are failures, all others are wrong usage.
func (c *cli) verb(run func(ctx context.Context, a *apiClient, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a, err := newAPIClient(cmd.Context(), c.address, tokenFromEnv())
		if err != nil {
			return err
		}
		a.wire.warn = func(text string) { c.say("warning: %s", text) }
		if err := run(cmd.Context(), a, args); err != nil {
			return &failure{a.explain(err)}
		}
		return nil
	}
}

// failure is an error of a verb that was called rightly.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

// The exit codes; rootLong documents them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitTimeout     = 4
	exitInterrupted = 130
)

// exitCode says on w what went wrong with a command, and how it is called if that was wrong, and returns the code for it.
func exitCode(w io.Writer, called *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(w, "berth: %v\n", err)
	var (
		failed  *failure
		refused *apiError
		taken   *builder.TakenError
		faults  recipe.Faults
	)
	switch {
	case !errors.As(err, &failed):
		if called.HasSubCommands() {
			fmt.Fprintf(w, "Run '%s --help' for a list of commands.\n", called.CommandPath())
		} else {
			fmt.Fprintf(w, "Usage: %s\nRun '%s --help' for flags and examples.\n", called.UseLine(), called.CommandPath())
		}
		return exitUsage
	case errors.Is(err, errTimeout):
		return exitTimeout
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &refused) && refused.refusal(), errors.As(err, &taken), errors.As(err, &faults):
		return exitRefused
	}
	return exitFailed
}

// Command berth is all of Berth in one binary: the daemons, and the verbs with which people and scripts talk to them. Each
// verb has a file of its own; this one only starts the right one.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(berth()) }

// berth runs the command line and returns the exit code.
func berth() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := newCLI(os.Stdin, os.Stdout, os.Stderr)
	root := newRootCommand(c)
	root.SetArgs(dropInArgs(os.Args[1:]))
	called, err := root.ExecuteContextC(ctx)
	return exitCode(c.err, called, err)
}

// Command berth-svc runs the services of a container under s6, and is systemctl, service, journalctl and their like under these names.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/berth-project/berth/svc"
	"github.com/berth-project/berth/svc/verbs"
)

func main() {
	if svc.IsOwn(os.Args[0]) {
		os.Exit(svc.Main(os.Args, os.Stdout, os.Stderr))
	}
	os.Exit(person())
}

// person carries out what somebody has typed, or a script.
func person() int {
	// What is made here is for all to read, as what systemd's own process makes, whatever the caller's umask.
	syscall.Umask(0o022)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	manager, err := svc.New(svc.Options{})
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		return 1
	}
	return verbs.Main(ctx, verbs.System(manager), os.Args)
}

package svc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is for a person; s6 and the image's scripts are who calls most of it.
const usage = `usage: berth-svc VERB

  boot              start the units that are enabled, in order (the image does at the container's start)
  shutdown SECONDS  stop all units in reverse order within that time (the image does when the container stops)
  health            say which units have failed; exit code 1 if one has, 0 if none
  run|finish|start|end|apply
                    parts of a service's life, called by s6 and by each other

Under the names systemctl, service, journalctl and others it is these programs.

For example, as an app's health check in Berth:
  {"protocol": "COMMAND", "command": {"value": "/usr/lib/berth/berth-svc health"}}
`

// IsOwn says whether Main is who carries out a call: one by s6 as run or finish, or by the program's own name.
func IsOwn(program string) bool {
	switch filepath.Base(program) {
	case "run", "finish", "berth-svc":
		return true
	}
	return false
}

// Main carries out a call of the program by its own name, or by s6 as a service's run or finish. It gives the exit code.
func Main(argv []string, stdout, stderr io.Writer) int {
	// The first thread is who has to become a daemon: while another one does, the process looks dead to others for a moment.
	runtime.LockOSThread()
	o := Options{}
	verb, args := filepath.Base(argv[0]), argv[1:]
	if verb == "run" || verb == "finish" {
		return bySupervise(verb, args, stderr)
	}
	if len(args) > 0 {
		if root, ok := strings.CutPrefix(args[0], "--root="); ok {
			o.Root, args = root, args[1:]
		}
	}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	s, err := New(o)
	if err != nil {
		return complain(stderr, err)
	}
	ctx := context.Background()
	switch verb, args = args[0], args[1:]; {
	case verb == "apply":
		err = apply()
		fmt.Fprintf(stderr, "systemd[1]: %v\n", err)
		return exitCodeOf(err)
	case verb == "boot":
		err = s.Boot(ctx)
	case verb == "shutdown" && len(args) == 1:
		limit, parseErr := strconv.ParseFloat(args[0], 64)
		if err = parseErr; err == nil {
			err = s.Shutdown(ctx, time.Duration(limit*float64(time.Second)))
		}
	case verb == "health":
		return s.health(stdout, stderr)
	case verb == "start" && len(args) > 0:
		err = s.Start(ctx, args...)
	case verb == "end" && len(args) == 1:
		return s.End(ctx, args[0])
	case verb == "help" || verb == "--help" || verb == "-h":
		fmt.Fprint(stdout, usage)
		return 0
	default:
		fmt.Fprint(stderr, usage)
		return 2
	}
	if err != nil {
		return complain(stderr, err)
	}
	return 0
}

func complain(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "berth-svc: %v\n", err)
	return 1
}

// bySupervise is a call by s6-supervise, in the service's folder: run NAME, or finish CODE SIGNAL NAME GROUP.
func bySupervise(verb string, args []string, stderr io.Writer) int {
	at := 0
	if verb == "finish" {
		at = 2
	}
	folder, err := os.Getwd()
	if err != nil || len(args) <= at {
		return complain(stderr, errors.Join(fmt.Errorf("%s is for s6-supervise to call", verb), err))
	}
	name := filepath.Base(args[at])
	root, ok := rootOf(folder, name)
	if !ok {
		return complain(stderr, fmt.Errorf("%s is not a service's folder", folder))
	}
	self, err := os.Readlink(verb)
	if err != nil {
		return complain(stderr, err)
	}
	s, err := New(Options{Root: root, Self: self})
	if err != nil {
		return complain(stderr, err)
	}
	if verb == "finish" {
		return s.Finish(context.Background(), name, args[0], args[1])
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	return s.Run(ctx, name)
}

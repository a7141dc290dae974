package svc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/unit"
)

const (
	bootingFile  = "run/berth/booting"  // exists while boot is at work
	stoppingFile = "run/berth/stopping" // exists from the order to stop the container, or to reboot it, on; /usr/lib/berth/stop makes it
	bootTarget   = "default.target"
	generated    = "run/systemd/generator"
)

// bootPatience is how long s6-svscan may take to listen. It does within milliseconds.
const bootPatience = 30 * time.Second

// Boot starts what is enabled, in order and as much at once as that allows. One service that does not start keeps no other from it that does
// not require it.
func (s *Supervisor) Boot(ctx context.Context) error {
	if err := errors.Join(os.MkdirAll(s.path(stateFolder), 0o755), os.WriteFile(s.path(bootingFile), nil, 0o644)); err != nil {
		return fmt.Errorf("begin to boot: %w", err)
	}
	defer os.Remove(s.path(bootingFile))
	// First, so that what follows takes no time from the way to sshd's banner.
	if err := s.scanned(ctx); err != nil {
		return err
	}
	s.tmpfiles(ctx)
	if err := s.generate(ctx); err != nil {
		fmt.Fprintf(s.console, "berth-svc: %v\n", err)
	}
	s.yield(ctx)
	targets := append(s.set().WantedBy(bootTarget), s.set().Unit(bootTarget).Name)
	order := s.bootable(targets)
	s.forgetTimers(order)
	return s.startAll(ctx, order, order)
}

// bootable is the order of start of what boot wants: each unit with what it requires. What cannot be started is told and left out.
func (s *Supervisor) bootable(names []string) []string {
	var all []string
	for _, name := range names {
		if _, ok := s.native(name); ok {
			continue // s6-svscan starts it, or its owner has said that it must not
		}
		order, err := s.set().StartOrder(name)
		if err != nil {
			fmt.Fprintf(s.console, "berth-svc: %s is enabled but cannot be started: %v\n", name, err)
			continue
		}
		all = append(all, order...)
	}
	var order []string
	for _, name := range s.set().Sort(all) {
		if _, ok := s.native(name); ok {
			continue // also as another's dependency
		}
		if rivals := s.set().Conflicting(order, name); len(rivals) > 0 {
			fmt.Fprintf(s.console, "berth-svc: %s is enabled but not started: it conflicts with %s\n", name, strings.Join(rivals, ", "))
			continue
		}
		order = append(order, name)
	}
	return order
}

// scanned waits for s6-svscan, beside which boot is started.
func (s *Supervisor) scanned(ctx context.Context) error {
	control := s.path(scanFolder, ".s6-svscan/control")
	ctx, cancel := context.WithTimeout(ctx, bootPatience)
	defer cancel()
	for {
		fd, err := unix.Open(control, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			return unix.Close(fd)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for s6-svscan in %s: %w", s.path(scanFolder), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// yield stops those of the image's own services that are masked, or in whose place a package's unit is enabled.
func (s *Supervisor) yield(ctx context.Context) {
	wanted := s.set().WantedBy(bootTarget)
	for _, n := range s.natives() {
		masked := s.set().Unit(n.names[0]).Load == unit.Masked
		replaced := slices.ContainsFunc(wanted, func(name string) bool {
			u := s.set().Unit(name)
			return !slices.Contains(n.names, u.Name) && slices.ContainsFunc(u.Names, func(alias string) bool { return slices.Contains(n.names, alias) })
		})
		if masked || replaced {
			_ = s.stopNative(ctx, n)
		}
	}
}

// tmpfiles makes the files and folders that packages want at boot, as /run was cleared.
func (s *Supervisor) tmpfiles(ctx context.Context) {
	if s.root != "/" {
		return
	}
	// Devices are not ours to make; what else it cannot do in a container it says, and goes on.
	_ = program(ctx, "systemd-tmpfiles", "--create", "--remove", "--boot", "--exclude-prefix=/dev", "--exclude-prefix=/sys", "--exclude-prefix=/proc").Run()
}

// generate runs the generators of systemd.generator(7), by which some packages start one instance for each of their configurations. Their units
// are below /run and made anew each time.
func (s *Supervisor) generate(ctx context.Context) error {
	var programs []string
	for _, dir := range []string{"etc/systemd/system-generators", "usr/local/lib/systemd/system-generators", "usr/lib/systemd/system-generators",
		"lib/systemd/system-generators"} {
		found, _ := filepath.Glob(s.path(dir, "*"))
		for _, program := range found {
			seen := slices.ContainsFunc(programs, func(p string) bool { return filepath.Base(p) == filepath.Base(program) })
			if info, err := os.Stat(program); err == nil && !seen && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				programs = append(programs, program)
			}
		}
	}
	if err := os.MkdirAll(s.path(stateFolder), 0o755); err != nil {
		return err
	}
	unlock, err := lock(s.path(stateFolder, "generators.lock")) // of two calls at once one would remove what the other has made
	if err != nil {
		return err
	}
	defer unlock()
	dirs := []string{s.path(generated), s.path(generated + ".early"), s.path(generated + ".late")}
	for _, dir := range dirs {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if len(programs) > 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
	}
	var errs []error
	for _, program := range programs {
		c := exec.CommandContext(ctx, program, dirs...)
		c.Env = []string{"PATH=" + defaultPath, "SYSTEMD_SCOPE=system"}
		if out, err := c.CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("generator %s: %w: %s", program, err, out))
		}
	}
	s.units = nil
	return errors.Join(errs...)
}

// Shutdown stops all units in reverse order. What is late when the time is over is killed. The image's own services, which came first, are left.
func (s *Supervisor) Shutdown(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	units := func() []string {
		return slices.DeleteFunc(s.running(), func(name string) bool { _, ok := s.native(name); return ok })
	}
	var err error
	// Twice: what somebody had just begun to start does not run yet at the first time.
	for range 2 {
		own := units()
		err = s.stopAll(ctx, s.set().StopOrder(own, own...), own, false)
	}
	if ctx.Err() == nil {
		return err
	}
	for _, name := range units() {
		r, err := s.read(name)
		if err != nil {
			continue
		}
		fmt.Fprintf(s.console, "berth-svc: %s did not stop in time and is killed\n", name)
		send(unix.SIGKILL, members(&r)...)
	}
	return err
}

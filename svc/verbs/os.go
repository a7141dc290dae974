package verbs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/berth-project/berth/svc/manager"
	"github.com/berth-project/berth/unit"
)

// System is the machine that this program runs on. The manager may be nil where none runs, as while an image is built.
func System(m manager.Manager) Environment {
	host, _ := os.Hostname()
	return Environment{
		Manager: m, Units: readUnits, Root: "/", Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Terminal: terminal(os.Stdout),
		Getenv: os.Getenv, Now: time.Now, Zone: time.Local, UID: os.Geteuid(), Hostname: host, Run: runProgram, Chown: os.Lchown,
		Become: func(path string, argv []string) error { return syscall.Exec(path, argv, os.Environ()) }, Readlink: os.Readlink,
	}
}

// readUnits makes the set of units of a file tree.
func readUnits(root string, folders ...string) *unit.Set {
	host, _ := os.Hostname()
	line := func(path string) string {
		text, _ := os.ReadFile(path)
		return strings.TrimSpace(string(text))
	}
	return unit.New(os.DirFS(root), unit.Environment{
		Hostname: host, BootID: strings.ReplaceAll(line("/proc/sys/kernel/random/boot_id"), "-", ""),
		KernelRelease: line("/proc/sys/kernel/osrelease"), Architecture: architecture(), UnitDirs: unitDirs(root, folders),
	})
}

// unitDirs puts folders before the usual ones; without any the tree itself tells.
func unitDirs(root string, folders []string) []string {
	if len(folders) == 0 {
		return nil
	}
	_, err := os.Stat(filepath.Join(root, "etc/debian_version"))
	return append(folders, unit.UnitDirs(err == nil)...)
}

// terminal says whether a file is one.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Mode()&os.ModeDevice != 0 && !nullDevice(info)
}

// nullDevice says whether a device is /dev/null: scripts send there what they do not want to see.
func nullDevice(info os.FileInfo) bool {
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null)
}

// runProgram waits for another program. One that a signal ended has 128 and the signal's number, as in a shell.
func runProgram(ctx context.Context, p Program) (int, error) {
	cmd := exec.CommandContext(ctx, p.Path, p.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, os.Stdout, os.Stderr, p.Env
	if p.Stdout != nil {
		cmd.Stdout = p.Stdout
	}
	if p.Stderr != nil {
		cmd.Stderr = p.Stderr
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if code := exit.ExitCode(); code >= 0 {
		return code, nil
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	return 128 + int(status.Signal()), nil
}

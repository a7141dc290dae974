package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

func newSSHCommand(c *cli) *cobra.Command {
	var identity string
	cmd := &cobra.Command{
		Use:     "ssh APP[.N] [-- COMMAND...]",
		Short:   "Log in to an instance as root",
		GroupID: groupLook,
		Long: `Run ssh to the instance's own address. Without .N the first running instance is taken. The host key is checked against
the one that Berth gave the instance, in a file apart from your own known_hosts, so that there is never a question and never a
stale entry.`,
		Example: `  berth ssh web
  berth ssh web.1 -- ps -ef
  berth ssh -i ~/.ssh/operators web.0`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.completeApps(true, 1),
		RunE: c.verb(func(_ context.Context, a *apiClient, args []string) error {
			rows, err := a.rows(args[0])
			if err != nil {
				return err
			}
			row, err := reachable(rows)
			if err != nil {
				return err
			}
			return execSSH(row, identityFile(identity), args[1:])
		}),
	}
	cmd.Flags().StringVarP(&identity, "identity", "i", "", "private key file (default: BERTH_SSH_IDENTITY, the key that make up made, or what ssh finds itself)")
	return cmd
}

// reachable picks the first row that has an address and runs; otherwise it says why none can be reached.
func reachable(rows []api.Instance) (api.Instance, error) {
	for _, r := range rows {
		if r.State == "running" && r.Address != "" {
			return r, nil
		}
	}
	r := rows[0]
	text := fmt.Sprintf("instance %s cannot be reached: it is %s", name(r), r.State)
	if r.State == "running" {
		text += " but has no address of its own"
	}
	if len(r.Why) > 0 {
		text += " (" + strings.Join(r.Why, "; ") + ")"
	}
	return r, errors.New(text)
}

// execSSH becomes ssh. It does not return when all goes well.
func execSSH(row api.Instance, identity string, command []string) error {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return errors.New("there is no ssh on the PATH (Debian: apt install openssh-client)")
	}
	known, err := writeKnownHosts(row)
	if err != nil {
		return err
	}
	args := []string{
		"ssh", "-o", `UserKnownHostsFile="` + known + `"`, "-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no",
	}
	if identity != "" {
		args = append(args, "-i", identity)
	}
	args = append(args, "root@"+row.Address)
	args = append(args, command...)
	if err := syscall.Exec(ssh, args, os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", ssh, err)
	}
	return nil
}

// writeKnownHosts puts the instance's host keys into a file of its own, which ssh reads after this process is gone.
func writeKnownHosts(row api.Instance) (string, error) {
	if len(row.HostKeys) == 0 {
		return "", fmt.Errorf("the scheduler has no SSH host key of %s, so it could not be told from an impostor", name(row))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for known_hosts: %w", err)
	}
	folder := filepath.Join(cache, "berth", "known_hosts")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("make folder for known_hosts: %w", err)
	}
	var lines strings.Builder
	for _, key := range row.HostKeys {
		lines.WriteString(row.Address + " " + key + "\n")
	}
	path := filepath.Join(folder, spec.SeatID{App: row.App, Index: row.Seat}.Safe())
	temp, err := os.CreateTemp(folder, ".new-*")
	if err != nil {
		return "", fmt.Errorf("write known_hosts: %w", err)
	}
	_, err = temp.WriteString(lines.String())
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return "", fmt.Errorf("write known_hosts: %w", err)
	}
	return path, nil
}

// identityFile is the private key to log in with, "" for ssh's own choice.
func identityFile(flag string) string {
	if flag != "" {
		return flag
	}
	if env := os.Getenv("BERTH_SSH_IDENTITY"); env != "" {
		return env
	}
	// make up puts a key there for an operator who has none.
	state := os.Getenv("BERTH_STATE_DIR")
	if state == "" {
		state = "/var/lib/berth"
	}
	key := filepath.Join(state, "operator_ed25519")
	if f, err := os.Open(key); err == nil { // it is there, and we may read it
		_ = f.Close()
		return key
	}
	return ""
}

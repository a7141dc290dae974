package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/spec"
)

// Options of one Berth. Only Binary is needed.
type Options struct {
	Binary string
	Bits   int    // size of the pool; 24
	Pools  string // instead of a pool of its own: the text of the pools file
	Engine *Engine
	Consul *Consul
	Flags  []string // more flags of `berth standalone`, or of `berth scheduler`
	// Mesos makes it `berth scheduler` and `berth agent` over this engine instead of `berth standalone`.
	Mesos *Mesos
	// Hosts make it a `berth standalone` of these hosts, each with its own `berth agent`, instead of this machine.
	Hosts []*Host
}

// Berth is one `berth standalone` with everything that it needs of its own.
type Berth struct {
	t      TB
	Engine *Engine
	*instance
}

// instance is the part that all views of one Berth share.
type instance struct {
	opt Options

	Dir  string // holds all its files
	Pool string // name of the pool, its network, and the apps' group
	CIDR netip.Prefix
	Key  ssh.Signer

	log     *os.File
	cmd     *exec.Cmd
	agent   *exec.Cmd     // with Options.Mesos
	exited  chan struct{} // closed when cmd has ended
	started bool          // it ran at least once, so there may be something to clean up
}

// In is the same Berth as seen by a subtest: what fails there is the subtest's failure.
func (b *Berth) In(t TB) *Berth { return &Berth{t: t, Engine: b.Engine.in(t), instance: b.instance} }

// Prepare makes the folders and files; Start runs it.
func Prepare(t TB, o Options) *Berth {
	t.Helper()
	if o.Bits == 0 {
		o.Bits = 24
	}
	if o.Engine == nil {
		o.Engine = MachineEngine(t)
	}
	b := &Berth{t: t, Engine: o.Engine, instance: &instance{
		opt: o, Dir: tempDir(t), Pool: freshName(), CIDR: freeRange(t, o.Bits), Key: newKey(t),
	}}
	pools := o.Pools
	if pools == "" {
		pools = PoolYAML(b.Pool, b.CIDR.String())
	}
	b.write("pools.yaml", pools)
	b.write("authorized_keys", string(ssh.MarshalAuthorizedKey(b.Key.PublicKey())))
	b.write("token", "token-of-"+b.Pool+"\n")
	b.log = must(os.Create(b.file("berth.log")))(t, "make the log file")
	t.Cleanup(b.cleanup)
	return b
}

// New is Prepare and Start.
func New(t TB, o Options) *Berth {
	t.Helper()
	b := Prepare(t, o)
	b.Start()
	return b
}

// Attach is a Berth that something else has started and will stop: with its API in dir/run, and this pool.
func Attach(t TB, binary, dir, pool string) *Berth {
	return &Berth{t: t, Engine: MachineEngine(t), instance: &instance{opt: Options{Binary: binary}, Dir: dir, Pool: pool}}
}

func (b *Berth) file(name string) string { return filepath.Join(b.Dir, name) }

func (b *Berth) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(b.file(name), []byte(text), 0o600); err != nil {
		b.t.Fatalf("write %s: %v", name, err)
	}
}

// Socket is the path of the API's unix socket.
func (b *Berth) Socket() string { return b.file("run/api.sock") }

// Token is what clients must send when Options.Flags has --listen.
func (b *Berth) Token() string { return "token-of-" + b.Pool }

// Bridge is the interface of its pool.
func (b *Berth) Bridge() string { return spec.Pool{Name: b.Pool}.Bridge() }

// AppID is the id of an app in this Berth's own group.
func (b *Berth) AppID(name string) string { return "/" + b.Pool + "/" + name }

// Args are the arguments of `berth standalone`, or of `berth scheduler`.
func (b *Berth) Args() []string {
	if b.opt.Mesos != nil {
		return b.schedulerArgs()
	}
	args := []string{"standalone",
		"--state-dir", b.file("state"), "--run-dir", b.file("run"), "--pools", b.file("pools.yaml"),
		"--authorized-keys", b.file("authorized_keys"), "--token-file", b.file("token"),
		"--ipam-name", "ipam-" + b.Pool, "--engine-listen", "127.0.0.1:0", "--log-level", "debug",
	}
	if host := b.Engine.Host(); host != "" {
		args = append(args, "--docker-host", host)
	}
	for _, h := range b.opt.Hosts {
		args = append(args, "--endpoint", h.endpoint())
	}
	if b.opt.Consul != nil {
		args = append(args, "--consul", b.opt.Consul.Address)
	}
	return append(args, b.opt.Flags...)
}

// Start runs it and waits until the API answers.
func (b *Berth) Start() {
	b.t.Helper()
	b.launch()
	if b.opt.Mesos != nil && b.agent == nil {
		b.launchAgent()
	}
	b.launchHosts()
	Eventually(b.t, 30*time.Second, "berth standalone answers", func() error {
		select {
		case <-b.exited:
			b.t.Fatalf("berth standalone ended at once: %v", b.cmd.ProcessState)
		default:
		}
		code, _, err := b.do("GET", "/ping", nil)
		if err == nil && code != 200 {
			err = fmt.Errorf("/ping answers %d", code)
		}
		return err
	})
}

func (b *Berth) launch() {
	b.t.Helper()
	fmt.Fprintf(b.log, "--- started\n")
	b.started = true
	cmd := exec.Command(b.opt.Binary, b.Args()...)
	cmd.Stdout, cmd.Stderr = b.log, b.log
	// A signal to the test's process group must not reach it before the cleanup does.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		b.t.Fatalf("start %s: %v", b.opt.Binary, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the state tells more than the error
		close(exited)
	}()
	b.cmd, b.exited = cmd, exited
}

// RunRefused runs it although it must not start, and returns what it said.
func (b *Berth) RunRefused() string {
	b.t.Helper()
	b.launch()
	select {
	case <-b.exited:
	case <-time.After(20 * time.Second):
		b.t.Fatalf("berth standalone did not refuse to start")
	}
	if b.cmd.ProcessState.Success() {
		b.t.Errorf("berth standalone refused to start, but its exit code is 0")
	}
	b.cmd, b.started = nil, false
	return string(must(os.ReadFile(b.log.Name()))(b.t, "read the log"))
}

// PID is the process id of the running Berth.
func (b *Berth) PID() int { return b.cmd.Process.Pid }

// Kill9 ends it without a chance to tidy up.
func (b *Berth) Kill9() {
	b.t.Helper()
	_ = b.cmd.Process.Kill() // already ended is as good
	<-b.exited
}

// Stop ends it in order.
func (b *Berth) Stop() {
	b.t.Helper()
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.exited:
	case <-time.After(30 * time.Second):
		b.t.Errorf("berth standalone did not stop within 30 s of TERM")
		b.Kill9()
		return
	}
	if !b.cmd.ProcessState.Success() {
		b.t.Errorf("berth standalone stopped with %v", b.cmd.ProcessState)
	}
}

// CLI runs a client verb and returns its output; it fails the test when the verb fails.
func (b *Berth) CLI(args ...string) string {
	b.t.Helper()
	out, err := b.TryCLI(b.t.Context(), nil, args...)
	if err != nil {
		b.t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TryCLI runs a client verb that may fail.
func (b *Berth) TryCLI(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, b.opt.Binary, args...)
	cmd.Env = append(os.Environ(), "BERTH_API=unix://"+b.Socket())
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &out
	err := cmd.Run()
	return out.String(), err
}

// cleanup stops it, removes all it made, and shows the log of a failed test.
func (b *Berth) cleanup() {
	if b.cmd != nil {
		b.removeApps()
		b.Stop()
	}
	b.stopAgent()
	b.removeHosts()
	if b.started && len(b.opt.Hosts) == 0 {
		b.Remove()
	}
	if b.t.Failed() {
		b.t.Logf("log of berth standalone (%s):\n%s", b.Pool, tail(b.log.Name(), 300))
	}
	b.log.Close()
}

// removeApps ends all instances while Berth still runs: without its IPAM driver the engine takes 15 s to remove a container.
func (b *Berth) removeApps() {
	ctx, cancel := outlive(b.t, 20*time.Second)
	defer cancel()
	_, answer, err := b.call(ctx, "GET", "/v2/apps", nil)
	var list struct {
		Apps []struct{ ID string }
	}
	if err == nil {
		err = json.Unmarshal(answer, &list)
	}
	var pods []struct{ ID string }
	if err == nil {
		_, answer, err = b.call(ctx, "GET", "/v2/pods", nil)
	}
	if err == nil {
		err = json.Unmarshal(answer, &pods)
	}
	for _, pod := range pods {
		if code, answer, failed := b.call(ctx, "DELETE", "/v2/pods"+pod.ID+"?force=true", nil); failed != nil || code != 202 {
			err = errors.Join(fmt.Errorf("delete %s: %d %s", pod.ID, code, answer), failed)
		}
	}
	for _, app := range list.Apps {
		if code, answer, failed := b.call(ctx, "DELETE", "/v2/apps"+app.ID+"?force=true", nil); failed != nil || code != 200 {
			err = errors.Join(fmt.Errorf("delete %s: %d %s", app.ID, code, answer), failed)
		}
	}
	if err != nil {
		b.t.Logf("remove all apps: %v", err) // what is left goes the slow way
		return
	}
	for ctx.Err() == nil && len(b.containers(ctx, "-q")) > 0 {
		<-time.After(pollInterval)
	}
}

// containers are those on the pool's network, and those of its pods, which are on the network of another container; of several
// hosts all that there are.
func (b *Berth) containers(ctx context.Context, which string) []string {
	if len(b.opt.Hosts) > 0 {
		var ids []string
		for _, h := range b.opt.Hosts {
			ids = append(ids, h.Engine.ids(ctx, b.t, "ps", which)...)
		}
		return ids
	}
	ids := b.Engine.ids(ctx, b.t, "ps", which, "--no-trunc", "--filter", "network="+b.Pool)
	all := strconv.FormatBool(strings.Contains(which, "a"))
	members := b.Engine.ids(ctx, b.t, "ps", "--all="+all, "--no-trunc", "--filter", "label=berth.container", "--format", `{{.ID}}={{.Label "berth.app"}}`)
	for _, m := range members {
		if id, app, _ := strings.Cut(m, "="); strings.HasPrefix(app, b.AppID("")) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Remove takes away what a stopped Berth left on the machine: its instances, which are meant to outlive it, and then the rest
// in the way its operators have. What that misses is a fault.
func (b *Berth) Remove() {
	ctx, cancel := outlive(b.t, time.Minute)
	defer cancel()
	// What is just being removed by the Engine itself, as it has ended, is an error to rm.
	if err := Within(time.Minute, func() error {
		ids := b.containers(ctx, "-aq")
		if len(ids) == 0 {
			return nil
		}
		_, err := b.Engine.try(ctx, append([]string{"rm", "-f"}, ids...)...)
		return err
	}); err != nil {
		b.t.Errorf("%v", err)
	}
	if out, err := exec.CommandContext(ctx, b.opt.Binary, append(b.cleanupArgs(), "--cleanup")...).CombinedOutput(); err != nil {
		b.t.Errorf("berth standalone --cleanup: %v\n%s", err, out)
	}
	if left := b.Engine.ids(ctx, b.t, "network", "ls", "-q", "--filter", "name=^"+b.Pool+"$"); len(left) > 0 {
		b.t.Errorf("--cleanup left network %s", b.Pool)
		_, _ = b.Engine.try(ctx, "network", "rm", b.Pool) // the test has failed already
	}
}

// tail is the end of a text file.
func tail(name string, lines int) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

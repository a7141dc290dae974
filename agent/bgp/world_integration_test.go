//go:build integration

package bgp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// childVariable makes the test binary a speaker: a process of its own, as its sockets must all be in its network namespace, and
// as it must be killed.
const childVariable = "BERTH_TEST_BGP_SPEAKER"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		speak(os.Stdin, os.Stdout)
		return
	}
	os.Exit(m.Run())
}

// order is what the test tells a speaker's process.
type order struct {
	Set       bool
	Config    Config
	Announced []netip.Prefix
}

// report is what it tells back: what it learned whenever that changes, and one answer an order.
type report struct {
	Learned  *Learned  `json:",omitempty"`
	Sessions []Session `json:",omitempty"`
	Error    string    `json:",omitempty"`
	Answer   bool      `json:",omitempty"`
}

// speak is the speaker's process.
func speak(in io.Reader, out io.Writer) {
	log := logrus.New()
	s := New(log)
	var mu sync.Mutex // one report is one line
	enc := json.NewEncoder(out)
	tell := func(r report) {
		mu.Lock()
		defer mu.Unlock()
		_ = enc.Encode(r)
	}
	ctx, end := contextOf(in)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(ctx)
	}()
	go func() {
		for {
			l, changed := s.Learned()
			tell(report{Learned: &l})
			<-changed
		}
	}()
	dec := json.NewDecoder(in)
	for {
		var o order
		if dec.Decode(&o) != nil {
			end()
			<-ended
			return
		}
		var err error
		r := report{Answer: true}
		if o.Set {
			err = s.Set(ctx, o.Config, o.Announced)
		} else {
			r.Sessions, err = s.Sessions(ctx)
		}
		if err != nil {
			r.Error = err.Error()
		}
		tell(r)
	}
}

// world is a switch in a namespace of its own with one namespace a machine. A machine that is cut off still has a carrier, so it
// notices nothing.
type world struct {
	*testing.T
	name string
	dir  string
	n    int
}

func newWorld(t *testing.T) *world {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	w := &world{T: t, name: fmt.Sprintf("berth-bgp-%d-", os.Getpid()), dir: t.TempDir()}
	w.run("ip", "netns", "add", w.name+"sw")
	t.Cleanup(func() { w.tidy("ip", "netns", "del", w.name+"sw") })
	w.run("ip", "-n", w.name+"sw", "link", "add", "name", "br0", "up", "type", "bridge")
	return w
}

func (w *world) run(args ...string) string {
	w.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		w.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (w *world) tidy(args ...string) {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		w.Errorf("clean up: %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// machine is one namespace on the switch.
type machine struct {
	*world
	ns, port string
	v4, v6   netip.Addr
}

func (w *world) machine() *machine {
	w.Helper()
	w.n++
	m := &machine{world: w, ns: fmt.Sprint(w.name, w.n), port: fmt.Sprint("p", w.n),
		v4: netip.AddrFrom4([4]byte{192, 0, 2, byte(w.n)}), v6: netip.MustParseAddr(fmt.Sprint("2001:db8::", w.n))}
	w.run("ip", "netns", "add", m.ns)
	w.Cleanup(func() { w.tidy("ip", "netns", "del", m.ns) })
	w.run("ip", "-n", w.name+"sw", "link", "add", "name", m.port, "master", "br0", "up", "type", "veth", "peer", "name", "eth0", "netns", m.ns)
	w.run("ip", "-n", m.ns, "link", "set", "lo", "up")
	w.run("ip", "-n", m.ns, "link", "set", "eth0", "up")
	w.run("ip", "-n", m.ns, "addr", "add", m.v4.String()+"/24", "dev", "eth0")
	w.run("ip", "-n", m.ns, "addr", "add", m.v6.String()+"/64", "dev", "eth0", "nodad")
	return m
}

// cut takes the machine's cable away where it cannot see it.
func (m *machine) cut() {
	m.Helper()
	m.run("ip", "-n", m.name+"sw", "link", "set", m.port, "nomaster")
}

// bird is Debian's BIRD on a machine.
type bird struct {
	*machine
	socket string
	config string
	flags  []string
	cmd    *exec.Cmd
}

// bird starts it. With -R each start recovers from a crash.
func (m *machine) bird(config string, flags ...string) *bird {
	m.Helper()
	program, err := exec.LookPath("bird")
	if err != nil {
		m.Skip("needs bird2 (scripts/install-deps test)")
	}
	b := &bird{machine: m, socket: filepath.Join(m.dir, m.port+".ctl"), config: filepath.Join(m.dir, m.port+".conf"), flags: flags}
	if err := os.WriteFile(b.config, []byte("router id "+m.v4.String()+";\nprotocol device {}\n"+config), 0o600); err != nil {
		m.Fatal(err)
	}
	m.run(program, "-p", "-c", b.config)
	b.start()
	m.Cleanup(b.kill)
	return b
}

func (b *bird) start() {
	b.Helper()
	b.cmd = exec.Command("ip", append([]string{"netns", "exec", b.ns, "bird", "-f", "-c", b.config, "-s", b.socket}, b.flags...)...)
	b.cmd.Stderr = os.Stderr
	if err := b.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.until(10*time.Second, "bird answers", func() bool { return exec.Command("birdc", "-s", b.socket, "show", "status").Run() == nil })
}

// reconfigure changes what the next start reads.
func (b *bird) reconfigure(r *strings.Replacer) {
	b.Helper()
	text, err := os.ReadFile(b.config)
	if err == nil {
		err = os.WriteFile(b.config, []byte(r.Replace(string(text))), 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// kill ends bird as a crash does. `ip netns exec` becomes the program, so the process is bird.
func (b *bird) kill() { end(b.cmd) }

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// ask is birdc.
func (b *bird) ask(words ...string) string {
	b.Helper()
	return b.run(append([]string{"birdc", "-r", "-s", b.socket}, words...)...)
}

// has says whether bird has a route to the prefix.
func (b *bird) has(prefix string) bool {
	out, err := exec.Command("birdc", "-r", "-s", b.socket, "show", "route", prefix).CombinedOutput()
	return err == nil && strings.Contains(string(out), prefix)
}

// speaker is a process with the speaker on a machine.
type speaker struct {
	*machine
	cmd     *exec.Cmd
	in      *json.Encoder
	stdin   io.Closer
	answers chan report

	mu      sync.Mutex // guards learned
	learned Learned
}

func (m *machine) speaker() *speaker {
	m.Helper()
	s := &speaker{machine: m, answers: make(chan report, 1)}
	s.cmd = exec.Command("ip", "netns", "exec", m.ns, "/proc/self/exe")
	self, err := os.Executable()
	if err != nil {
		m.Fatal(err)
	}
	s.cmd.Args[len(s.cmd.Args)-1] = self
	s.cmd.Env = append(os.Environ(), childVariable+"=1")
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		m.Fatal(err)
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		m.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		m.Fatal(err)
	}
	s.in, s.stdin = json.NewEncoder(stdin), stdin
	go s.listen(stdout)
	m.Cleanup(s.kill)
	return s
}

func (s *speaker) listen(out io.Reader) {
	dec := json.NewDecoder(bufio.NewReaderSize(out, 1<<20))
	for {
		var r report
		if dec.Decode(&r) != nil {
			return
		}
		if r.Learned != nil {
			s.mu.Lock()
			s.learned = *r.Learned
			s.mu.Unlock()
		}
		if r.Answer {
			s.answers <- r
		}
	}
}

func (s *speaker) kill() { end(s.cmd) }

// stop ends the process as a stop of its service does.
func (s *speaker) stop() {
	s.Helper()
	_ = s.stdin.Close()
	if err := s.cmd.Wait(); err != nil {
		s.Fatal(err)
	}
}

func (s *speaker) order(o order) report {
	s.Helper()
	if err := s.in.Encode(o); err != nil {
		s.Fatal(err)
	}
	select {
	case r := <-s.answers:
		return r
	case <-time.After(30 * time.Second):
		s.Fatal("the speaker does not answer")
		return report{}
	}
}

// set is Set on the machine's own address.
func (s *speaker) set(c Config, announced ...string) {
	s.Helper()
	c.RouterID = s.v4
	o := order{Set: true, Config: c}
	for _, a := range announced {
		o.Announced = append(o.Announced, netip.MustParsePrefix(a))
	}
	if r := s.order(o); r.Error != "" {
		s.Fatal(r.Error)
	}
}

// routes is what was learned last, as text.
func (s *speaker) routes() string {
	l := s.last()
	var out []string
	for _, r := range l.Routes {
		out = append(out, fmt.Sprintf("%s%v", r.Prefix, r.NextHops))
	}
	if !l.Complete {
		out = append(out, "incomplete")
	}
	return strings.Join(out, " ")
}

func (s *speaker) last() Learned {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.learned
}

// session is the session with the address.
func (s *speaker) session(with netip.Addr) Session {
	s.Helper()
	r := s.order(order{})
	i := slices.IndexFunc(r.Sessions, func(x Session) bool { return x.Address == with })
	if i < 0 {
		s.Fatalf("no session with %s: %+v", with, r)
	}
	return r.Sessions[i]
}

func (s *speaker) learns(within time.Duration, want string) {
	s.Helper()
	end := time.Now().Add(within)
	s.until(2*within, "the speaker learns "+want, func() bool {
		if s.routes() != want && time.Now().After(end) {
			s.Fatalf("not within %s: the speaker learns %s: it knows %s", within, want, s.routes())
		}
		return s.routes() == want
	})
}

// until waits for ok, and returns after how long it was.
func (w *world) until(within time.Duration, what string, ok func() bool) time.Duration {
	w.Helper()
	start, tick, over := time.Now(), time.NewTicker(20*time.Millisecond), time.After(within)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-over:
			w.Fatalf("not within %s: %s", within, what)
		}
	}
	return time.Since(start)
}

// always holds ok against the whole time.
func (w *world) always(long time.Duration, what string, ok func() bool) {
	w.Helper()
	tick, over := time.NewTicker(50*time.Millisecond), time.After(long)
	defer tick.Stop()
	for {
		if !ok() {
			w.Fatalf("not always: %s", what)
		}
		select {
		case <-tick.C:
		case <-over:
			return
		}
	}
}

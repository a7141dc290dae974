//go:build integration && slow

package integration

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/integration/rig"
)

// The columns of the table: what a machine's owner expects of a daemon.
const (
	byInstall   = "install"
	bySystemctl = "systemctl"
	byService   = "service"
	byEnabled   = "enabled"
	byKill      = "kill -9"
	byReboot    = "reboot"
	byContainer = "new container"
	byStop      = "stop"
)

var columns = []string{byInstall, bySystemctl, byService, byEnabled, byKill, byReboot, byContainer, byStop}

// patience is how long a daemon may take until it does its work, on a machine that is busy with other daemons.
const patience = 4 * time.Minute

// row is a daemon and what came out.
type row struct {
	daemon
	found map[string]string // column -> "ok", or what is worth a word, or "FAIL"
}

// machine is one instance under Berth with its daemons.
type machine struct {
	t       *testing.T
	b       *rig.Berth
	app     string
	address string
	login   *rig.Login
	rows    []*row
}

// TestDaemons: Debian's daemons are installed over SSH in running instances, and behave there as on a server.
func TestDaemons(t *testing.T) {
	requireReal(t, "docker", baseImage, rpmImage)
	tag := fmt.Sprintf("berth-it/%08x:", rand.Uint32())
	names := slices.Sorted(maps.Keys(machines))
	t.Cleanup(func() { // after all instances are gone
		for _, name := range names {
			_ = exec.Command("docker", "image", "rm", tag+name).Run() // there may be none if the test failed early
		}
	})
	b := rig.New(t, rig.Options{Binary: binary, Flags: roomy()})
	all := map[string][]*row{}
	for _, name := range names {
		for _, d := range machines[name] {
			all[name] = append(all[name], &row{daemon: d, found: map[string]string{}})
		}
	}
	t.Run("machine", func(t *testing.T) {
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m := machine{t: t, b: b.In(t), app: b.AppID(name), rows: all[name]}
				image := baseImage
				if name == "rpm" {
					image = rpmImage
				}
				m.b.Create(m.b.App(name, image, 1, rig.With("cpus", 2), rig.With("mem", 1024)))
				m.arrive()
				m.check(tag + name)
			})
		}
	})
	printTable(all)
}

// check fills the rows of the machine.
func (m *machine) check(image string) {
	m.must(m.b.Packages())
	if m.rows[0].rpm != "" {
		repack, err := os.ReadFile("testdata/repack")
		if err != nil {
			m.t.Fatal(err)
		}
		m.must("cat >/root/repack <<'THE END'\n" + string(repack) + "THE END")
	}
	for _, r := range m.rows {
		m.note(r, byInstall, m.installs)
		m.note(r, bySystemctl, func(d daemon) (string, error) { return m.obeys(d, "systemctl %[2]s %[1]s") })
		m.note(r, byService, func(d daemon) (string, error) { return m.obeys(d, "service %[1]s %[2]s") })
		m.note(r, byEnabled, m.enabled)
		m.note(r, byKill, m.survivesKill)
	}
	m.reboot()
	for _, r := range m.rows {
		m.note(r, byReboot, m.isBack)
	}
	m.replace(image)
	for _, r := range m.rows {
		m.note(r, byContainer, m.isBack)
	}
	for _, r := range slices.Backward(m.rows) {
		m.note(r, byStop, m.stopsClean)
	}
}

// note does one check, and writes down what came out.
func (m *machine) note(r *row, column string, check func(daemon) (string, error)) {
	m.t.Helper()
	said, err := check(r.daemon)
	if err != nil {
		m.t.Errorf("%s: %s: %v\n%s", r.name, column, err, m.about(r.daemon))
		said = "FAIL"
	}
	r.found[column] = or(said, "ok")
}

// about is what an operator would look at first.
func (m *machine) about(d daemon) string {
	out, _ := m.sh(fmt.Sprintf("systemctl status %[1]s %[2]s; journalctl -n 20 -u %[2]s; ps -eo pid,ppid,user,args --forest | tail -n 60", d.service(), d.mainUnit()))
	return out
}

// sh runs a command in the instance and returns its output and exit code; -1 means that it could not run.
func (m *machine) sh(command string) (string, int) {
	out, err := m.login.Run(command)
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return out, 0
	case errors.As(err, &exit):
		return err.Error(), exit.ExitStatus()
	}
	return err.Error(), -1
}

// must runs what has nothing to do with a daemon.
func (m *machine) must(command string) {
	m.t.Helper()
	if out, code := m.sh(command); code != 0 {
		m.t.Fatalf("exit code %d: %s", code, out)
	}
}

// codes runs commands that each have to end with the code before it.
func (m *machine) codes(wants ...any) error {
	for i := 0; i < len(wants); i += 2 {
		if out, code := m.sh(wants[i+1].(string)); code != wants[i] {
			return fmt.Errorf("%s: exit code %d, want %d: %s", wants[i+1], code, wants[i], out)
		}
	}
	return nil
}

// is says an error unless the unit is in that state, by the word and the exit code of is-active.
func (m *machine) is(state, unit string) error {
	word, _ := m.sh("systemctl is-active " + unit + " || true")
	want := 3
	if state == "active" {
		want = 0
	}
	_, code := m.sh("systemctl is-active -q " + unit)
	if word != state || code != want {
		return fmt.Errorf("%s is %s (exit code %d), want %s", unit, word, code, state)
	}
	return nil
}

func (m *machine) up(d daemon) error {
	if err := errors.Join(m.is("active", d.service()), m.is("active", d.mainUnit())); err != nil {
		return err
	}
	return m.codes(0, d.serves)
}

func (m *machine) down(d daemon) error {
	if err := errors.Join(m.is("inactive", d.service()), m.is("inactive", d.mainUnit())); err != nil {
		return err
	}
	if _, code := m.sh(d.serves); code == 0 {
		return fmt.Errorf("it is stopped and still serves: %s", d.serves)
	}
	return nil
}

// pid is the main process.
func (m *machine) pid(d daemon) (string, error) {
	out, code := m.sh(or(d.pid, "systemctl show -p MainPID --value "+d.mainUnit()))
	out = strings.TrimSpace(out)
	if code != 0 || out == "" || out == "0" {
		return "", fmt.Errorf("no main process: exit code %d, %q", code, out)
	}
	return out, nil
}

// complaint is a line of apt-get or of a maintainer script that says something went wrong although the exit code is 0.
var complaint = regexp.MustCompile(`(?m)^(Failed to .*|Job for .*|dpkg: error.*|E: .*|invoke-rc\.d: .*(failed|could not|denied).*|.*Unit .* not found.*|.*command not found.*)$`)

func (m *machine) installs(d daemon) (string, error) {
	if d.before != "" {
		if err := m.codes(0, d.before); err != nil {
			return "", err
		}
	}
	command := "DEBIAN_FRONTEND=noninteractive apt-get install -y -q " + d.packages()
	if d.rpm != "" {
		made, code := m.sh("bash /root/repack " + d.name + " " + d.rpm + " 2>/dev/null")
		if code != 0 {
			return "", fmt.Errorf("make an RPM of it: %s", made)
		}
		command = "rpm -i " + made
	}
	out, code := m.sh(command)
	if code != 0 {
		return "", fmt.Errorf("exit code %d: %s", code, out)
	}
	if bad := complaint.FindString(out); bad != "" {
		return "", fmt.Errorf("it says %q:\n%s", bad, out)
	}
	if d.held != "" {
		// As under systemd: a condition that does not hold is no error.
		if err := errors.Join(m.codes(0, "systemctl start "+d.service()), m.is(d.held, d.service())); err != nil {
			return "", err
		}
	}
	if d.after != "" {
		if err := m.codes(0, d.after); err != nil {
			return "", err
		}
	}
	return "", m.runs(d)
}

// runs waits until the daemon does its work; one that may not run in a container does not.
func (m *machine) runs(d daemon) error {
	if d.serves == "" {
		return m.is(d.held, d.service())
	}
	return rig.Within(patience, func() error { return m.up(d) })
}

// obeys checks the verbs of a tool, given as a format of unit and verb.
func (m *machine) obeys(d daemon, tool string) (string, error) {
	verb := func(v string) string { return fmt.Sprintf(tool, d.service(), v) }
	if d.serves == "" {
		return "held", m.codes(0, verb("start"), 3, verb("status"), 0, verb("restart"), 3, verb("status"), 0, verb("stop"))
	}
	if err := m.codes(0, verb("status"), 0, verb("stop"), 3, verb("status"), 0, verb("stop")); err != nil {
		return "", err
	}
	if err := m.down(d); err != nil {
		return "", err
	}
	if err := m.codes(0, verb("start"), 0, verb("status"), 0, verb("start")); err != nil {
		return "", err
	}
	if err := m.runs(d); err != nil {
		return "", err
	}
	before, err := m.pid(d)
	if err != nil {
		return "", err
	}
	if err := m.codes(0, verb("restart"), 0, verb("status")); err != nil {
		return "", err
	}
	if err := m.runs(d); err != nil {
		return "", err
	}
	after, err := m.pid(d)
	if err == nil && after == before {
		err = fmt.Errorf("restart left process %s as it was", after)
	}
	return "", err
}

func (m *machine) enabled(d daemon) (string, error) {
	word, code := m.sh("systemctl is-enabled " + d.service() + " 2>/dev/null")
	if code != 0 || word != "enabled" {
		return "", fmt.Errorf("is-enabled: exit code %d, %q", code, word)
	}
	return "", nil
}

// survivesKill: what the unit file says is done, and what is done is what status says.
func (m *machine) survivesKill(d daemon) (string, error) {
	if d.serves == "" {
		return "held", nil
	}
	before, err := m.pid(d)
	if err != nil {
		return "", err
	}
	if err := m.codes(0, "kill -9 "+before); err != nil {
		return "", err
	}
	if d.killed == "" {
		return "back", rig.Within(patience, func() error {
			after, err := m.pid(d)
			if err == nil && after == before {
				err = fmt.Errorf("the main process is still said to be %s", before)
			}
			if err != nil {
				return err
			}
			return m.up(d)
		})
	}
	if err := rig.Within(patience, func() error { return m.is(d.killed, d.mainUnit()) }); err != nil {
		return "", err
	}
	if err := m.codes(0, "systemctl restart "+d.service()); err != nil {
		return "", err
	}
	return d.killed, m.runs(d)
}

func (m *machine) isBack(d daemon) (string, error) {
	if d.serves == "" {
		return "held", m.is(d.held, d.service())
	}
	return "", m.runs(d)
}

func (m *machine) stopsClean(d daemon) (string, error) {
	if d.serves == "" {
		return "held", m.codes(0, "systemctl stop "+d.service(), 1, "systemctl is-failed -q "+d.service())
	}
	pid, err := m.pid(d)
	if err != nil {
		return "", err
	}
	if err := m.codes(0, "systemctl stop "+d.service(), 1, "systemctl is-failed -q "+d.mainUnit(), 1, "test -d /proc/"+pid); err != nil {
		return "", err
	}
	return "", m.down(d)
}

// arrive logs in to the instance as it is now.
func (m *machine) arrive() {
	m.t.Helper()
	m.address = m.b.Running(m.app, 1, patience)[0].Address
	m.login = m.b.SSH(m.address)
}

// reboot is the operator's: from the inside.
func (m *machine) reboot() {
	m.t.Helper()
	m.must("touch /run/before-reboot")
	_, _ = m.sh("reboot") // the connection may end before the answer
	rig.Eventually(m.t, patience, "the instance is there after reboot", func() error {
		login, err := rig.Dial(m.address, ssh.PublicKeys(m.b.Key))
		if err != nil {
			return err
		}
		if _, err := login.Run("test ! -e /run/before-reboot"); err != nil {
			return errors.Join(err, login.Close())
		}
		m.t.Cleanup(func() { login.Close() })
		m.login = login
		return nil
	})
}

// replace makes an image of the instance as it stands, and lets Berth put a new container of it in the old one's seat.
func (m *machine) replace(image string) {
	m.t.Helper()
	old := m.b.Running(m.app, 1, 10*time.Second)[0]
	m.b.Engine.Docker("commit", old.ID, image)
	var definition struct {
		App struct{ Container map[string]any }
	}
	m.b.Want(200, "GET", "/v2/apps"+m.app, nil, &definition)
	definition.App.Container["docker"].(map[string]any)["image"] = image
	m.b.Update(m.app, map[string]any{"container": definition.App.Container})
	m.b.Settle(patience)
	m.arrive()
}

// printTable is for people; scripts/testsummary shows it also when all is well.
func printTable(all map[string][]*row) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n| daemon | %s |\n|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, r := range all[name] {
			kind := ""
			if r.rpm != "" {
				kind = " (RPM, " + strings.Fields(r.rpm)[0] + ")"
			}
			fmt.Fprintf(&b, "| %s%s |", r.name, kind)
			for _, c := range columns {
				fmt.Fprintf(&b, " %s |", or(r.found[c], "-"))
			}
			b.WriteString("\n")
		}
	}
	fmt.Fprint(os.Stdout, b.String())
}

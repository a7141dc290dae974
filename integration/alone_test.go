//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-project/berth/integration/rig"
	"github.com/berth-project/berth/internal/cgroup"
)

// alone is a `berth agent --alone` beside an engine and a Consul of the test's own.
type alone struct {
	t               *testing.T
	engine          *rig.Engine
	consul          *rig.Consul // nil: none
	dir             string
	metrics, zabbix string // host:port
	groups          *cgroup.FS
	killable
}

func newAlone(t *testing.T, consul *rig.Consul) *alone {
	t.Helper()
	groups, err := cgroup.Open("", "")
	if err != nil {
		t.Fatal(err)
	}
	a := &alone{t: t, engine: rig.StartEngine(t), consul: consul, dir: t.TempDir(), groups: groups}
	a.log = a.file("agent.log")
	a.metrics, a.zabbix = "127.0.0.1:"+strconv.Itoa(rig.FreePort(t)), "127.0.0.1:"+strconv.Itoa(rig.FreePort(t))
	t.Cleanup(func() {
		a.kill9()
		if log, _ := os.ReadFile(a.log); t.Failed() {
			t.Logf("log of the agent:\n%s", log)
		}
	})
	tinyImage(t, a.engine, "tiny")
	return a
}

// in is the same agent as a subtest sees it, which neither starts nor kills it.
func (a *alone) in(t *testing.T) *alone {
	b := *a
	b.t = t
	return &b
}

func (a *alone) file(name string) string { return filepath.Join(a.dir, name) }

// start runs the agent.
func (a *alone) start(more ...string) {
	a.t.Helper()
	args := []string{"agent", "--alone", "--docker-host", a.engine.Host(), "--hostname", "h1", "--state-dir", a.file("state"), "--run-dir", a.file("run"),
		"--metrics-listen", a.metrics, "--zabbix-listen", a.zabbix, "--monitor-interval", "1s"}
	if a.consul != nil {
		args = append(args, "--consul", a.consul.Address)
	}
	a.launch(a.t, append(args, more...)...)
}

// run starts a container with docker run.
func (a *alone) run(name string, options ...string) {
	a.t.Helper()
	a.engine.Docker(append(append([]string{"run", "-d", "--name", name, "--stop-signal", "KILL"}, options...), "tiny")...)
}

// group is the container's control group as it is now.
func (a *alone) group(name string) (*cgroup.Group, error) {
	out, err := a.engine.TryDocker("inspect", "--format", "{{.State.Pid}} {{.Id}}", name)
	if err != nil {
		return nil, err
	}
	pid, id, _ := strings.Cut(out, " ")
	n, err := strconv.Atoi(pid)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%s does not run: %s", name, out)
	}
	return a.groups.Find(n, id, "")
}

// found are the control groups of the containers that are to have these quotas. Looking at them costs nothing; asking a busy engine
// for them may take longer than a repair.
func (a *alone) found(want map[string]float64) map[string]*cgroup.Group {
	a.t.Helper()
	groups := map[string]*cgroup.Group{}
	for name := range want {
		rig.Eventually(a.t, 30*time.Second, name+" runs", func() (err error) {
			groups[name], err = a.group(name)
			return err
		})
	}
	return groups
}

// wantQuotas waits until the kernel has these quotas, in cores; 0 is none.
func (a *alone) wantQuotas(limit time.Duration, when string, groups map[string]*cgroup.Group, want map[string]float64) {
	a.t.Helper()
	began := time.Now()
	rig.Eventually(a.t, limit, "quotas "+when, func() error {
		for name, cores := range want {
			if q, err := groups[name].Quota(); err != nil || q.Cores() != cores {
				return errors.Join(fmt.Errorf("%s has %v cores, want %v", name, q.Cores(), cores), err)
			}
		}
		return nil
	})
	a.t.Logf("quotas %s: right after %v", when, time.Since(began).Round(time.Millisecond))
}

// setQuotas sets quotas by hand, as somebody who means well might; 0 is none.
func setQuotas(t *testing.T, groups map[string]*cgroup.Group, to map[string]time.Duration) {
	t.Helper()
	for name, quota := range to {
		if err := groups[name].SetQuota(cgroup.Quota{Time: quota}); err != nil {
			t.Fatalf("change the quota of %s: %v", name, err)
		}
	}
}

// repair is how soon a quota is to be right again after somebody changed it.
const repair = 2 * time.Second

// wantServices waits until Consul's catalog has these services and no others: service -> the ids of its entries.
func (a *alone) wantServices(when string, want map[string]string) {
	a.t.Helper()
	rig.Eventually(a.t, 15*time.Second, "services "+when, func() error {
		names, _, err := a.consul.API.Catalog().Services(nil)
		if err != nil {
			return err
		}
		delete(names, "consul")
		if len(names) != len(want) {
			return fmt.Errorf("there are %v, want %v", names, want)
		}
		for name, id := range want {
			found, _, err := a.consul.Services(name, 0)
			if err != nil || len(found) != 1 || found[id] == nil {
				return errors.Join(fmt.Errorf("%s has %d entries, %s is among them: %v", name, len(found), id, found[id] != nil), err)
			}
		}
		return nil
	})
}

// get reads a page.
func get(ctx context.Context, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return string(b), err
}

// marathonTask are the options of docker run by which Mesos starts a real Marathon's task.
func marathonTask(app string, cpus float64, port int, more ...string) []string {
	variables := []string{
		"MARATHON_APP_ID=" + app, "MARATHON_APP_VERSION=v1", "MESOS_TASK_ID=" + strings.ReplaceAll(strings.Trim(app, "/"), "/", "_") + ".instance-6b1f._app.1",
		"MARATHON_APP_RESOURCE_CPUS=" + strconv.FormatFloat(cpus, 'f', -1, 64), "MESOS_SANDBOX=/mnt/mesos/sandbox", "HOST=127.0.0.1",
		fmt.Sprintf("PORT0=%d", port), fmt.Sprintf("PORT_80=%d", port), fmt.Sprintf("PORT_HTTP=%d", port),
	}
	options := []string{"--cpu-shares", strconv.Itoa(int(cpus * 1024)), "--memory", "64m", "-p", fmt.Sprintf("%d:80", port)}
	for _, v := range append(variables, more...) {
		options = append(options, "-e", v)
	}
	return options
}

// TestAgentAlone: beside a real Marathon's tasks and what docker run started, with no scheduler, the agent keeps quotas, registers,
// and shows figures; kill -9 and what happened meanwhile leave nothing behind.
func TestAgentAlone(t *testing.T) {
	requireReal(t, "docker", "consul")
	a := newAlone(t, rig.StartConsul(t))
	a.run("web", "-p", "80", "--label", "berth.cpus=0.3", "--label", "SERVICE_TAGS=b,a", "-e", "SERVICE_NAME=web", "-e", "SERVICE_80_REGION=eu")
	a.run("mesos-shop", marathonTask("/prod/shop", 0.25, rig.FreePort(t), "MARATHON_APP_LABEL_BERTH_TAGS=x")...)
	a.run("mesos-chronos", "--cpu-shares", "204", "-e", "SERVICE_IGNORE=yes") // a task of another framework
	a.run("plain", "--cpus", "0.4")
	a.run("free", "-p", "80", "-e", "SERVICE_IGNORE=yes")
	quotas := map[string]float64{"web": 0.3, "mesos-shop": 0.25, "mesos-chronos": 0.2, "plain": 0.4, "free": 0}
	groups := a.found(quotas)
	a.wantQuotas(0, "of docker run", groups, map[string]float64{"web": 0, "mesos-shop": 0, "mesos-chronos": 0, "plain": 0.4, "free": 0})
	a.start()
	a.wantQuotas(10*time.Second, "after the start", groups, quotas)

	t.Run("quotas are repaired", func(t *testing.T) {
		setQuotas(t, groups, map[string]time.Duration{"web": 90 * time.Millisecond, "mesos-shop": 0, "plain": 10 * time.Millisecond})
		a.in(t).wantQuotas(repair, "after they were changed by hand", groups, quotas)
	})
	t.Run("Consul", func(t *testing.T) { testAloneInConsul(t, a.in(t)) })
	t.Run("Prometheus", func(t *testing.T) {
		rig.Eventually(t, 10*time.Second, "figures of the containers", func() error {
			page, err := get(t.Context(), "http://"+a.metrics+"/metrics")
			for _, line := range []string{
				`berth_container_cpu_quota_cores{app="/web",host="h1",seat="0"} 0.3`, `berth_container_cpu_quota_cores{app="/prod/shop",host="h1",seat="0"} 0.25`,
				`berth_container_memory_limit_bytes{app="/prod/shop",host="h1",seat="0"} 6.7108864e+07`, `berth_instance_up{app="/free",host="h1",seat="0"} 1`,
				`berth_host_containers{host="h1"} 5`,
			} {
				if err == nil && !strings.Contains(page, line+"\n") {
					err = fmt.Errorf("there is no line %s", line)
				}
			}
			return err
		})
	})
	t.Run("Zabbix", func(t *testing.T) {
		for _, way := range [][]string{{"--run-dir", a.file("run")}, {"--address", a.zabbix}} {
			for key, want := range map[string]string{"berth.cpu.quota[/web,0]": "0.3", "berth.cpu.quota[/prod/shop,0]": "0.25", "berth.discovery": `"/prod/shop"`} {
				out, err := exec.Command(binary, append([]string{"zabbix", "get", key}, way...)...).CombinedOutput()
				if got := strings.TrimSpace(string(out)); err != nil || got != want && !(strings.HasPrefix(got, "[") && strings.Contains(got, want)) {
					t.Errorf("%s by %v: %s, %v; want %s", key, way, got, err, want)
				}
			}
		}
	})
	a.again()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Wait(); err != nil {
		t.Errorf("the agent, told to end: %v", err)
	}
	a.cmd = nil
}

func testAloneInConsul(t *testing.T, a *alone) {
	a.wantServices("after the start", map[string]string{"web": "berth:h1:web:80", "prod-shop": "berth:h1:mesos-shop:80"})
	all, err := a.consul.API.Agent().Services()
	if err != nil {
		t.Fatal(err)
	}
	web, shop := all["berth:h1:web:80"], all["berth:h1:mesos-shop:80"]
	if fmt.Sprint(web.Tags) != "[a b]" || web.Meta["region"] != "eu" {
		t.Errorf("web: %+v", web)
	}
	if fmt.Sprint(shop.Tags) != "[x]" || shop.Meta["berth-app"] != "/prod/shop" || shop.Meta["port-name"] != "http" {
		t.Errorf("the shop: %+v", shop)
	}
	for _, s := range []string{fmt.Sprintf("http://%s:%d/", web.Address, web.Port), fmt.Sprintf("http://%s:%d/", shop.Address, shop.Port)} {
		if page, err := get(t.Context(), s); err != nil || page != "up\n" {
			t.Errorf("where Consul sends clients: %q, %v", page, err)
		}
	}
}

// again kills the agent, changes the host, and starts another agent with the bounds that --help tells of.
func (a *alone) again() {
	a.t.Helper()
	a.kill9()
	a.engine.Docker("rm", "-f", "web", "mesos-chronos")
	a.run("web2", "-p", "80", "--label", "berth.cpus=0.3", "-e", "SERVICE_NAME=web2")
	a.run("small", "--label", "berth.cpus=0.02")
	a.run("allowed", "--label", "berth.cpus=0.15", "--label", "BERTH_CPU_STARTUP=2x1h")
	a.run("mesos-cart", marathonTask("/prod/cart", 0.25, rig.FreePort(a.t))...)
	a.run("mesos-aurora", "--cpu-shares", "204", "-e", "SERVICE_IGNORE=yes")
	want := map[string]float64{
		"web2": 0.2, "small": 0.05, "allowed": 0.2, "plain": 0.2, "free": 0, "mesos-cart": 0, "mesos-aurora": 0,
		"mesos-shop": 0.25, // which the agent before gave it, and this one leaves alone
	}
	groups := a.found(want)
	setQuotas(a.t, groups, map[string]time.Duration{"plain": 90 * time.Millisecond})
	a.start("--cpu-floor", "0.05", "--cpu-ceiling", "0.2", "--marathon-quota=false")
	a.wantQuotas(10*time.Second, "after kill -9, with a floor, a ceiling and no quota for Marathon's tasks", groups, want)
	a.wantServices("after kill -9, while containers went and others came", map[string]string{
		"web2": "berth:h1:web2:80", "prod-shop": "berth:h1:mesos-shop:80", "prod-cart": "berth:h1:mesos-cart:80",
	})
	setQuotas(a.t, groups, map[string]time.Duration{"web2": 90 * time.Millisecond})
	a.wantQuotas(repair, "after the next comparison", groups, want)
}

// TestQuotasOutlastTheEngine: quotas are right again soon after an engine is back that was killed, or was away while somebody changed
// them; with containers that live on meanwhile, and with ones that it starts anew.
func TestQuotasOutlastTheEngine(t *testing.T) {
	requireReal(t, "docker")
	a := newAlone(t, nil)
	a.run("web", "--restart", "always", "--label", "berth.cpus=0.3")
	a.run("plain", "--restart", "always", "--cpus", "0.4")
	a.run("mesos-shop", append(marathonTask("/prod/shop", 0.25, rig.FreePort(t)), "--restart", "always")...)
	quotas := map[string]float64{"web": 0.3, "plain": 0.4, "mesos-shop": 0.25}
	wrong := map[string]time.Duration{"web": 90 * time.Millisecond, "plain": 10 * time.Millisecond, "mesos-shop": 0}
	groups := a.found(quotas)
	a.start()
	a.wantQuotas(10*time.Second, "after the start", groups, quotas)
	started := func() string { return a.engine.Docker("inspect", "--format", "{{.State.StartedAt}}", "web") }
	before := started()

	a.engine.Kill9()
	setQuotas(t, groups, wrong)
	a.wantQuotas(repair, "while the engine is away", groups, quotas)
	a.engine.Start()
	setQuotas(t, groups, wrong)
	a.wantQuotas(repair, "after kill -9 of an engine with live-restore", groups, quotas)

	a.engine.Kill9()
	a.kill9()
	setQuotas(t, groups, wrong)
	a.start()
	a.engine.Start()
	a.wantQuotas(repair, "after the agent was killed, too", groups, quotas)
	if started() != before {
		t.Error("the engine has no live-restore")
	}

	a.engine.LiveRestore(false)
	a.engine.Kill9()
	a.engine.Start()
	groups = a.found(quotas)
	a.wantQuotas(repair, "after kill -9 of an engine without live-restore", groups, quotas)
	if started() == before {
		t.Error("without live-restore the engine has not started its containers anew")
	}
	setQuotas(t, groups, wrong)
	a.wantQuotas(repair, "of containers that the engine has started anew", groups, quotas)
}

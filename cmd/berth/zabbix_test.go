package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/monitor/figures"
	"github.com/berth-project/berth/monitor/zabbix"
	"github.com/berth-project/berth/monitor/zbxd"
)

// answerItems serves a host's items until the test ends; a nil view hangs up, as Berth does to strangers.
func answerItems(t *testing.T, l net.Listener, view *zabbix.View) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if data, err := zbxd.Read(c, zbxd.MaxRequest); err == nil && view != nil {
				value, err := view.Answer(string(data), time.Now(), zabbix.LimitPort)
				_, _ = c.Write(zbxd.Frame(zbxd.Request{}.AppendAnswer(nil, zbxd.Result{Value: value, Err: err})))
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

func exampleView() *zabbix.View {
	return zabbix.NewTable("1.2").View(figures.NewIndex(&figures.Snapshot{At: time.Now(), Host: figures.Host{Name: "h1"}, Instances: []figures.Instance{
		{App: "/db", State: figures.Starting, Health: figures.Unknown},
		{App: "/web", State: figures.Running, Health: figures.Healthy, Figures: &figures.Figures{Services: []figures.Service{{Name: "my nginx", Up: true}}}},
	}}))
}

func TestZabbixVerbs(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "zabbix.sock"))
	if err != nil {
		t.Fatal(err)
	}
	answerItems(t, l, exampleView())
	for p := dir; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		_ = os.Chmod(p, 0o755) // so that a user zabbix of this machine may come there
	}
	_ = os.Chmod(filepath.Join(dir, "zabbix.sock"), 0o666)
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answerItems(t, port, exampleView())
	strict, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answerItems(t, strict, nil)

	for name, test := range map[string]struct {
		args []string
		want string
		code int
	}{
		"get":                 {[]string{"get", "berth.health[/web,0]", "--run-dir", dir}, "1\n", 0},
		"get by port":         {[]string{"get", "berth.health[/web,0]", "--address", port.Addr().String()}, "1\n", 0},
		"get nothing":         {[]string{"get", "berth.cpu.usage[/db,0]", "--run-dir", dir}, "berth.cpu.usage[/db,0] has no value: /db.0: it has no running container", 1},
		"get nowhere":         {[]string{"get", "berth.ping", "--run-dir", dir + "/x"}, "no such file", 1},
		"get not allowed":     {[]string{"get", "berth.ping", "--address", strict.Addr().String()}, "--zabbix-server", 1},
		"test":                {[]string{"test", "--run-dir", dir}, `berth.service.state[/web,0,"my nginx"]        [t|1]`, 0},
		"test one":            {[]string{"test", "/db", "--run-dir", dir}, "berth.cpu.usage[/db,0]                        [m|ZBX_NOTSUPPORTED] [/db.0: it has no running container]", 0},
		"test by port":        {[]string{"test", "--address", port.Addr().String()}, "agent.hostname                                [t|h1]", 0},
		"test none":           {[]string{"test", "/nothing", "--run-dir", dir}, "no instance of /nothing runs on this host", 1},
		"test without socket": {[]string{"test", "--run-dir", dir + "/x"}, "does berth agent (or berth standalone) run", 1},
		"test not allowed":    {[]string{"test", "--address", strict.Addr().String()}, "--zabbix-server", 1},
		"template":            {[]string{"template"}, "name: Berth containers", 0},
		"template, pages":     {[]string{"template", "--pages", "2"}, "key: berth.instances[,2,2]", 0},
		"template, too many":  {[]string{"template", "--pages", "65"}, "between 1 and 64", 2},
		"template, unknown":   {[]string{"template", "--kind", "x"}, "is unknown", 2},
		"parameters":          {[]string{"parameters", "--binary", "/x/berth-zabbix"}, `UserParameter=berth.instances[*],/x/berth-zabbix --socket /run/berth/zabbix.sock berth.instances "$1" "$2" "$3"`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c := &cli{in: strings.NewReader(""), out: &out, err: &out}
			root := newRootCommand(c)
			root.SetArgs(slices.Concat([]string{"zabbix"}, test.args))
			err := root.ExecuteContext(t.Context())
			code := 0
			var failed *failure
			switch {
			case errors.As(err, &failed):
				code = 1
			case err != nil:
				code = 2
			}
			if text := out.String() + fmt.Sprint(err); code != test.code || !strings.Contains(text, test.want) {
				t.Errorf("exit code %d, want %d; %q is not in\n%.2000s", code, test.code, test.want, text)
			}
		})
	}
}

func TestZabbixServers(t *testing.T) {
	got, err := prefixes([]string{"127.0.0.1", "::ffff:10.0.0.1", "10.1.2.3/8", "fd00::/8"})
	if err != nil || fmt.Sprint(got) != "[127.0.0.1/32 10.0.0.1/32 10.0.0.0/8 fd00::/8]" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := prefixes([]string{"zabbix.example.com"}); err == nil {
		t.Error("a name was taken")
	}
}

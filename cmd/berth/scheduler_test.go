package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
	"github.com/berth-project/berth/scheduler/mesos"
	"github.com/berth-project/berth/scheduler/mesos/mesostest"
)

func TestClusterSettleFindsEveryFault(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := clusterOptions{Mesos: "zk://user:hunter2@z1/mesos", Principal: "berth", ZooKeeperAuth: empty, FailoverTimeout: time.Second}
	o.LogLevel = "info"
	_, _, err := o.settle(&cli{err: io.Discard})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"--listen is needed", "--failover-timeout 1s", "--mesos: ", "--principal and its secret", "--zk-auth-file: " + empty + " is empty"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("a password is said")
	}
}

func TestSecretsComeFromTheEnvironmentOrAFile(t *testing.T) {
	t.Setenv(envMesosSecret, "of-env")
	t.Setenv(envZooKeeperAuth, "zk:pw")
	o := clusterOptions{Mesos: "zk://z1/mesos", Principal: "berth", FailoverTimeout: time.Hour}
	o.Roles = []string{"web"}
	o.LogLevel, o.Listen, o.InsecureAPI, o.MaxDeployments = "info", "127.0.0.1:0", true, 1
	_, e, err := o.settle(&cli{err: io.Discard})
	if err != nil || e.mesos.Secret != "of-env" || e.mesos.ZooKeeper.Auth != "zk:pw" || e.mesos.Framework.Roles[0] != "web" {
		t.Errorf("got %+v, %v", e.mesos, err)
	}
	o.SecretFile = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(o.SecretFile, []byte("of-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, e, err = o.settle(&cli{err: io.Discard}); err != nil || e.mesos.Secret != "of-file" {
		t.Errorf("got %+v, %v", e.mesos, err)
	}
}

// TestTheFrameworkOutlivesItsScheduler: a restarted scheduler is the same framework; a removed one stays removed until a
// person names it.
func TestTheFrameworkOutlivesItsScheduler(t *testing.T) {
	m := mesostest.New(mesostest.Options{})
	defer m.Close()
	dir := t.TempDir()
	o := clusterOptions{Mesos: m.Start(), Principal: "berth", FailoverTimeout: time.Hour, FrameworkName: "f", User: "root", HostStateDir: "/var/lib/berth"}
	o.StateDir, o.RunDir, o.LogLevel, o.Listen, o.InsecureAPI, o.MaxConcurrent = filepath.Join(dir, "state"), filepath.Join(dir, "run"), "info", "127.0.0.1:0", true, 10
	o.Roles, o.MaxDeployments = []string{"web", "batch"}, 100
	t.Setenv(envMesosSecret, "hunter2")
	var log bytes.Buffer
	waiting, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	// life runs a scheduler; its end is what it returned.
	life := func(ctx context.Context) error {
		s, e, err := o.settle(&cli{err: &log})
		if err != nil {
			giveUp() // it will make no calls
			return err
		}
		return runScheduler(ctx, s, e)
	}
	var err error
	seen := 0
	next := func(kind string) mesostest.Call {
		t.Helper()
		var call mesostest.Call
		if call, seen, err = m.WaitCall(waiting, seen, mesostest.OfType(kind)); err != nil {
			t.Fatal(err)
		}
		return call
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- life(ctx) }()
	first := next("SUBSCRIBE")
	if s := first.Subscribe; s.ID != "" || s.Name != "f" || s.Principal != "berth" || first.User != "berth" || len(s.Roles) != 2 || !s.Checkpoint || s.FailoverTimeout != time.Hour {
		t.Errorf("introduced itself as %+v", s)
	}
	next("SUPPRESS") // the id was stored before
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	ctx, cancel = context.WithCancel(t.Context())
	go func() { ended <- life(ctx) }()
	again := next("SUBSCRIBE")
	if again.Subscribe.ID == "" {
		t.Error("a restart began a new framework")
	}
	m.RemoveFramework()
	err = <-ended
	cancel()
	if !errors.Is(err, mesos.ErrFrameworkRemoved) || !strings.Contains(err.Error(), again.Subscribe.ID) || !strings.Contains(err.Error(), "--new-framework") {
		t.Errorf("got %v", err)
	}

	o.NewFramework = again.Subscribe.ID
	ctx, cancel = context.WithCancel(t.Context())
	go func() { ended <- life(ctx) }()
	if s := next("SUBSCRIBE").Subscribe; s.ID != again.Subscribe.ID { // the master is asked first
		t.Errorf("subscribed as %q", s.ID)
	}
	if s := next("SUBSCRIBE").Subscribe; s.ID != "" {
		t.Errorf("subscribed as %q", s.ID)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Error("the secret is in the log")
	}
}

// TestInfoTellsWhoRunsTasks: /v2/info says what the flags say, and Mesos's default where they do not.
func TestInfoTellsWhoRunsTasks(t *testing.T) {
	for flag, want := range map[string]string{"svc": "svc", "": "root"} {
		o := clusterOptions{Mesos: "m1:5050", FailoverTimeout: time.Hour, User: flag}
		o.LogLevel, o.Listen, o.InsecureAPI, o.MaxDeployments = "info", "127.0.0.1:0", true, 1
		s, e, err := o.settle(&cli{err: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Config struct {
				User string `json:"mesos_user"`
			} `json:"marathon_config"`
		}
		server, err := api.New(api.Options{Backend: apitest.New(api.NewLog(0)), Events: api.NewLog(0), Info: (&composition{settings: s}).info(e, nil)})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		server.Handler("").ServeHTTP(w, httptest.NewRequest("GET", "/v2/info", nil))
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Config.User != want {
			t.Errorf("--mesos-user %q: %q, %v", flag, got.Config.User, err)
		}
	}
}

// TestRoleNames: Mesos's rules for them, before a master refuses the subscription.
func TestRoleNames(t *testing.T) {
	for role, good := range map[string]bool{
		"*": true, "slave_public": true, "eng/web": true, "": false, ".": false, "..": false, "-web": false, "a b": false, "eng/": false, "eng/*": false, "a\\b": false,
	} {
		if err := checkRole(role); good != (err == nil) {
			t.Errorf("%q: %v", role, err)
		}
	}
}

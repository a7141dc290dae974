package marathon

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTaskEnv(t *testing.T) {
	app := mustDecode(t, `{"id":"/g/web","cpus":0.1,"mem":128,"container":{"docker":{"image":"web:1"},
		"portMappings":[{"containerPort":80,"name":"http-api","hostPort":0},{"containerPort":0}]},"networks":[{"mode":"container/bridge"}],
		"labels":{"a.b--c":"1","X_y":"2"},"env":{"OWN":"x","HOST":"mine"}}`)
	app.Version = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got := TaskEnv(app, EnvInput{TaskID: "t1", Host: "agent", Ports: []int{31000, 31001}})
	want := map[string]string{
		"MARATHON_APP_ID": "/g/web", "MARATHON_APP_VERSION": "2026-01-02T03:04:05.000Z", "MESOS_TASK_ID": "t1",
		"MARATHON_APP_DOCKER_IMAGE": "web:1", "MARATHON_APP_RESOURCE_CPUS": "0.1", "MARATHON_APP_RESOURCE_MEM": "128.0",
		"MARATHON_APP_RESOURCE_DISK": "0.0", "MARATHON_APP_RESOURCE_GPUS": "0", "MARATHON_APP_ENFORCE_GROUP_ROLE": "FALSE",
		"MARATHON_APP_LABELS": "X_Y A_B_C", "MARATHON_APP_LABEL_A_B_C": "1", "MARATHON_APP_LABEL_X_Y": "2",
		"HOST": "mine", "OWN": "x",
		"PORT": "31000", "PORT0": "31000", "PORT1": "31001", "PORTS": "31000,31001",
		"PORT_80": "31000", "PORT_31001": "31001", "PORT_HTTP-API": "31000",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTaskEnvDetails(t *testing.T) {
	app := mustDecode(t, `{"id":"/a","cmd":"run","portDefinitions":[{"port":9000,"name":"x"}],"env":{"S":{"secret":"s"}},"secrets":{"s":{"source":"p"}}}`)
	app.Labels = map[string]string{"long": strings.Repeat("v", 512), strings.Repeat("k", 493): "v", "ok": strings.Repeat("v", 511)}
	env := TaskEnv(app, EnvInput{Host: "agent", Ports: []int{31000}, EnvPrefix: "P_", EnforceGroupRole: true})
	for name, want := range map[string]string{
		"P_HOST": "agent", "P_PORT0": "31000", "P_PORT_9000": "31000", "P_PORT_X": "31000", "P_PORTS": "31000",
		"MARATHON_APP_LABELS": "OK", "MARATHON_APP_ENFORCE_GROUP_ROLE": "TRUE",
	} {
		if env[name] != want {
			t.Errorf("%s: got %q, want %q", name, env[name], want)
		}
	}
	for _, absent := range []string{"HOST", "PORT", "S", "MARATHON_APP_DOCKER_IMAGE", "MARATHON_APP_LABEL_LONG"} {
		if v, has := env[absent]; has {
			t.Errorf("%s is set: %q", absent, v)
		}
	}
}

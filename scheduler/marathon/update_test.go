package marathon

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/spec"
)

func TestUpdate(t *testing.T) {
	const host = `{"id":"/a","cmd":"run","env":{"A":"1","B":"2"},"resourceLimits":{"mem":256},"executorResources":{},"healthChecks":[{}]}`
	const bridge = `{"id":"/a","networks":[{"mode":"container/bridge"}],"container":{"docker":{"image":"i:1"},"portMappings":[{"containerPort":80,"servicePort":10001}]}}`
	for name, c := range map[string]struct {
		current, update string
		at              []string
		want            string
	}{
		"absent keeps":              {host, `{"instances":3}`, []string{"env"}, `{"A":"1","B":"2"}`},
		"present replaces whole":    {host, `{"env":{"C":"3"}}`, []string{"env"}, `{"C":"3"}`},
		"empty empties":             {host, `{"env":{}}`, []string{"env"}, `null`},
		"null keeps":                {host, `{"env":null,"ports":null}`, []string{"env"}, `{"A":"1","B":"2"}`},
		"limits are kept":           {host, `{"instances":3}`, []string{"resourceLimits"}, `{"mem":256}`},
		"executor's are kept":       {host, `{"instances":3}`, []string{"executorResources"}, `{"cpus":0.1,"mem":32,"disk":10}`},
		"id is ignored":             {host, `{"id":"/other","instances":3}`, []string{"id"}, `"/a"`},
		"legacy ports":              {host, `{"ports":[8080]}`, []string{"portDefinitions"}, `[{"port":8080,"protocol":"tcp"}]`},
		"uris":                      {host, `{"uris":["http://r/a.zip"]}`, []string{"fetch"}, `[{"uri":"http://r/a.zip","extract":true,"executable":false,"cache":false}]`},
		"no uris":                   {host, `{"uris":[]}`, []string{"fetch"}, `null`},
		"args drop cmd":             {host, `{"args":["x"],"container":{"docker":{"image":"i"}}}`, []string{"cmd"}, `null`},
		"checks name their port":    {host, `{"healthChecks":[{"protocol":"TCP"}]}`, []string{"healthChecks"}, `[{"protocol":"TCP","portIndex":0,"gracePeriodSeconds":300,"intervalSeconds":60,"timeoutSeconds":20,"maxConsecutiveFailures":3,"delaySeconds":15,"ipProtocol":"IPv4"}]`},
		"to a network":              {host, `{"container":{"docker":{"image":"i","network":"USER"}}}`, []string{"networks"}, `[{"mode":"container","name":"berth"}]`},
		"to a network, ports go":    {host, `{"container":{"docker":{"image":"i","network":"USER"}}}`, []string{"container", "portMappings"}, `[{"containerPort":0,"name":"default","labels":{},"protocol":"tcp","servicePort":0}]`},
		"ipAddress keeps container": {bridge, `{"ipAddress":{}}`, []string{"container", "docker", "image"}, `"i:1"`},
		"to host":                   {bridge, `{"networks":[{"mode":"host"}]}`, []string{"portDefinitions"}, `[{"port":0,"name":"default","protocol":"tcp"}]`},
		"container whole":           {bridge, `{"container":{"docker":{"image":"i:2"}}}`, []string{"container", "portMappings"}, `[{"containerPort":0,"hostPort":0,"name":"default","labels":{},"protocol":"tcp","servicePort":0}]`},
		"legacy bridge again":       {bridge, `{"container":{"docker":{"image":"i:2","network":"BRIDGE","portMappings":[{"containerPort":80}]}}}`, []string{"container", "portMappings"}, `[{"containerPort":80,"hostPort":0,"labels":{},"protocol":"tcp","servicePort":0}]`},
		"ports pad the mappings":    {bridge, `{"ports":[0,0]}`, []string{"container", "portMappings"}, `[{"containerPort":80,"hostPort":0,"labels":{},"protocol":"tcp","servicePort":10001},{"containerPort":0,"hostPort":0,"labels":{},"protocol":"tcp","servicePort":0}]`},
	} {
		t.Run(name, func(t *testing.T) {
			current := mustDecode(t, c.current)
			before := mustDecode(t, c.current)
			app, err := UpdateApp(current, []byte(c.update), true, testOptions())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(parsed(t, c.want), part(t, Encode(app), c.at...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(before, current); diff != "" {
				t.Errorf("the current app was changed:\n%s", diff)
			}
			checkRoundTrip(t, app, testOptions())
		})
	}
}

func TestUpdateKeepsVersions(t *testing.T) {
	current := mustDecode(t, `{"id":"/a","cmd":"run"}`)
	current.Version, current.LastScaling, current.LastConfigChange = time.Unix(3, 0), time.Unix(2, 0), time.Unix(1, 0)
	app, err := UpdateApp(current, []byte(`{"instances":2}`), true, testOptions())
	if err != nil || !app.Version.Equal(current.Version) || !app.LastScaling.Equal(current.LastScaling) || !app.LastConfigChange.Equal(current.LastConfigChange) {
		t.Errorf("got %+v, %v", app, err)
	}
}

func TestFullUpdate(t *testing.T) {
	current := mustDecode(t, `{"id":"/a","cmd":"run","env":{"A":"1"},"instances":4}`)
	app, err := UpdateApp(current, []byte(`{"cmd":"other","version":"2020-01-01T00:00:00Z"}`), false, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if app.ID != "/a" || app.Cmd != "other" || app.Env != nil || app.Instances != 1 {
		t.Errorf("got %+v", app)
	}
}

func TestUpdateOfNothing(t *testing.T) {
	o := testOptions()
	o.ID = "/g/new"
	app, err := UpdateApp(nil, []byte(`{"cmd":"run","healthChecks":[{}]}`), true, o)
	if err != nil || app.ID != "/g/new" {
		t.Fatalf("got %v, %v", app, err)
	}
	app, err = UpdateApp(nil, []byte(`{"id":"x","cmd":"run"}`), true, testOptions())
	if err != nil || app.ID != "/x" {
		t.Fatalf("got %v, %v", app, err)
	}
	if _, err := UpdateApp(nil, []byte(`{"cmd":"run"}`), true, testOptions()); err == nil {
		t.Error("an update without id made an app")
	}
}

func TestUpdateFaults(t *testing.T) {
	const resident = `{"id":"/a","cmd":"run","container":{"type":"MESOS","volumes":[{"containerPath":"d","mode":"RW","persistent":{"size":1}}]}}`
	for name, c := range map[string]struct{ current, update, path, text string }{
		"version beside others": {`{"id":"/a","cmd":"run"}`, `{"id":"/a","version":"2020-01-01T00:00:00Z","instances":2}`, "/", "The 'version' field may only be combined with the 'id' field.; the version sent is not the app's current one, 2026-01-02T03:04:05.678Z: read the app again, or leave version out"},
		"version's type":        {`{"id":"/a","cmd":"run"}`, `{"version":"yesterday","instances":2}`, "/version", "error.expected.date.isoformat"},
		"types":                 {`{"id":"/a","cmd":"run"}`, `{"instances":"2"}`, "/instances", "error.expected.jsnumber"},
		"merged app":            {`{"id":"/a","cmd":"run"}`, `{"instances":-1}`, "/instances", "got -1, expected 0 or more"},
		"volumes":               {resident, `{"container":{"type":"MESOS","volumes":[]}}`, "/", "Persistent volumes can not be changed!"},
		"resident's resources":  {resident, `{"cpus":7}`, "/cpus", "Resident tasks: resource requirements can not be changed!"},
	} {
		t.Run(name, func(t *testing.T) {
			current := mustDecode(t, c.current)
			current.Version = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
			_, err := UpdateApp(current, []byte(c.update), true, testOptions())
			if f := asFaults(t, err); f.at(c.path) != c.text {
				t.Errorf("got %v", f)
			}
		})
	}
}

// TestVersionAsRead: what GET answered can be sent back, its version as clients see it included; a new app's says nothing.
func TestVersionAsRead(t *testing.T) {
	current := mustDecode(t, `{"id":"/a","cmd":"run"}`)
	current.Version = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	for name, c := range map[string]struct {
		current *spec.App
		body    string
	}{
		"current":    {current, `{"version":"2026-01-02T03:04:05.678Z","versionInfo":{},"instances":2}`},
		"other zone": {current, `{"version":"2026-01-02T04:04:05.678+01:00","instances":2}`},
		"new app":    {nil, `{"version":"2001-01-01T00:00:00Z","cmd":"run","instances":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions()
			o.ID = "/a"
			app, err := UpdateApp(c.current, []byte(c.body), true, o)
			if err != nil || app.Instances != 2 {
				t.Errorf("got %+v, %v", app, err)
			}
		})
	}
}

func TestRoleIsKept(t *testing.T) {
	o := testOptions()
	o.Roles = []string{"*", "old"}
	current, err := DecodeApp([]byte(`{"id":"/a","cmd":"run","role":"old"}`), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := UpdateApp(current, []byte(`{"instances":2}`), true, testOptions()); err != nil {
		t.Errorf("the role that the app has was refused: %v", err)
	}
}

func TestDecodeUpdate(t *testing.T) {
	at := time.Date(2020, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	for name, c := range map[string]struct {
		body    string
		id      string
		version *time.Time
	}{
		"nothing":               {`{}`, "", nil},
		"rollback":              {`{"version":"2020-01-02T03:04:05.678Z"}`, "", &at},
		"rollback with id":      {`{"id":"a","version":"2020-01-02T04:04:05.678+01:00","cmd":null}`, "/a", &at},
		"version beside others": {`{"version":"2020-01-02T03:04:05.678Z","cmd":"x"}`, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := DecodeUpdate([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if string(u.ID) != c.id || !cmp.Equal(u.Version, c.version) {
				t.Errorf("got %+v", u)
			}
		})
	}
	if _, err := DecodeUpdate([]byte(`{"version":"yesterday"}`)); asFaults(t, err).at("/version") != "error.expected.date.isoformat" {
		t.Errorf("got %v", err)
	}
}

func TestDecodeUpdates(t *testing.T) {
	updates, err := DecodeUpdates([]byte(`[{"id":"a","cmd":"x"},{"id":"/b","instances":2}]`))
	if err != nil || len(updates) != 2 || updates[0].ID != "/a" || string(updates[1].Raw) != `{"id":"/b","instances":2}` {
		t.Errorf("got %v, %v", updates, err)
	}
	for body, want := range map[string]string{
		`[{"cmd":"x"}]`:         "App Update must have app id set: ",
		`{}`:                    "Invalid JSON: /: error.expected.jsarray",
		`[{"id":"a"},{"id":1}]`: "Invalid JSON: /(1)/id: error.expected.jsstring",
	} {
		if _, err := DecodeUpdates([]byte(body)); err == nil || err.Error() != want && err.Error()+": " != want {
			t.Errorf("%s: got %v, want %s", body, err, want)
		}
	}
}

func TestConfigEqual(t *testing.T) {
	const base = `{"id":"/a","cmd":"run","instances":1,"healthChecks":[{"protocol":"TCP"}],"labels":{"a":"b"}}`
	for name, c := range map[string]struct {
		update string
		want   bool
	}{
		"scale":          {`{"instances":9}`, true},
		"same":           {`{"cmd":"run","labels":{"a":"b"}}`, true},
		"explicit index": {`{"healthChecks":[{"protocol":"TCP","portIndex":0}]}`, true},
		"label":          {`{"labels":{"a":"c"}}`, false},
		"cpus":           {`{"cpus":2}`, false},
		"upgrade":        {`{"upgradeStrategy":{"minimumHealthCapacity":0,"maximumOverCapacity":0}}`, false},
		"check":          {`{"healthChecks":[]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := mustDecode(t, base)
			b, err := UpdateApp(a, []byte(c.update), true, testOptions())
			if err != nil {
				t.Fatal(err)
			}
			b.Version, b.LastScaling, b.LastConfigChange = time.Unix(9, 0), time.Unix(9, 0), time.Unix(9, 0)
			if got := ConfigEqual(a, b); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestInPlace: what instances are not restarted for.
func TestInPlace(t *testing.T) {
	const plain = `{"id":"/a","cmd":"run","cpus":1,"labels":{"a":"b"}}`
	const roomy = `{"id":"/a","cmd":"run","cpus":1,"labels":{"a":"b","BERTH_CPU_MAX":"2"}}`
	for name, c := range map[string]struct {
		base, update string
		want         bool
	}{
		"same":                      {plain, `{}`, true},
		"scale":                     {plain, `{"instances":7}`, true},
		"more than is held":         {plain, `{"cpus":1.5}`, false},
		"less, and less is held":    {plain, `{"cpus":0.5}`, false},
		"less, as much is held":     {plain, `{"cpus":0.5,"labels":{"a":"b","BERTH_CPU_MAX":"1.0"}}`, true},
		"what is held has a name":   {plain, `{"labels":{"a":"b","BERTH_CPU_MAX":"1"}}`, true},
		"more is held":              {plain, `{"labels":{"a":"b","BERTH_CPU_MAX":"2"}}`, false},
		"up within":                 {roomy, `{"cpus":1.5}`, true},
		"up to all of it":           {roomy, `{"cpus":2,"labels":{"a":"b"}}`, true},
		"beyond":                    {roomy, `{"cpus":2.5}`, false},
		"down":                      {roomy, `{"cpus":0.1}`, true},
		"the room is given up":      {roomy, `{"labels":{"a":"b"}}`, false},
		"weight":                    {plain, `{"labels":{"a":"b","BERTH_WEIGHT":"7"}}`, true},
		"down, and scaled":          {roomy, `{"cpus":0.1,"instances":7}`, true},
		"another label":             {roomy, `{"cpus":1.5,"labels":{"BERTH_CPU_MAX":"2"}}`, false},
		"other things as well":      {roomy, `{"cpus":1.5,"mem":7}`, false},
		"the start-up allowance":    {roomy, `{"labels":{"a":"b","BERTH_CPU_MAX":"2","BERTH_CPU_STARTUP":"2x30s"}}`, false},
		"a label that cannot be it": {plain, `{"labels":{"a":"b","BERTH_CPU_MAX":"many"}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := mustDecode(t, c.base)
			b, err := UpdateApp(a, []byte(c.update), true, testOptions())
			if err != nil {
				t.Fatal(err)
			}
			if got := InPlace(a, b); got != c.want || got != InPlace(b, a) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	pod, less := &spec.App{ID: "/p", Pod: &spec.Pod{}, CPUs: 1}, &spec.App{ID: "/p", Pod: &spec.Pod{}, CPUs: 0.5, Labels: map[string]string{"BERTH_CPU_MAX": "1"}}
	if InPlace(pod, less) {
		t.Error("a pod is resized in place")
	}
}

// TestInPlaceAlikeness: whatever changes in place is one class, in which all hold the same of their hosts.
func TestInPlaceAlikeness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *spec.App {
			app := &spec.App{ID: "/a", Cmd: rapid.SampledFrom([]string{"x", "x", "x", "y"}).Draw(t, name+" cmd"), CPUs: float64(rapid.IntRange(1, 4).Draw(t, name+" cpus")) / 2}
			if held := rapid.IntRange(0, 4).Draw(t, name+" held"); held > 0 {
				app.Labels = map[string]string{spec.AppLabelMaxCPUs: fmt.Sprint(float64(held) / 2)}
			}
			return app
		}
		a, b, c := draw("a"), draw("b"), draw("c")
		if InPlace(a, b) && a.Held() != b.Held() {
			t.Error("another amount is held")
		}
		if InPlace(a, b) != InPlace(b, a) || InPlace(a, b) && InPlace(b, c) && !InPlace(a, c) {
			t.Error("not an equivalence")
		}
		if a.Held() < a.CPUs {
			t.Error("less is held than may be used")
		}
	})
}

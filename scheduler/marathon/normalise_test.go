package marathon

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// part is the JSON at a path of keys in the app's canonical form; nil when it is not there.
func part(t *testing.T, app any, keys ...string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(mustMarshal(t, app), &v); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[key]
	}
	return v
}

func parsed(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestNormalisation(t *testing.T) {
	const mapping = `"labels":{},"protocol":"tcp","servicePort":0`
	networks, mappings, definitions := []string{"networks"}, []string{"container", "portMappings"}, []string{"portDefinitions"}
	for name, c := range map[string]struct {
		body string
		at   []string
		want string
	}{
		"uris":                       {`{"id":"a","cmd":"run","uris":["http://r/a.tar.gz?x=.y","http://r/b?c=d.zip"]}`, []string{"fetch"}, `[{"uri":"http://r/a.tar.gz?x=.y","extract":true,"executable":false,"cache":false},{"uri":"http://r/b?c=d.zip","extract":false,"executable":false,"cache":false}]`},
		"fetch extracts":             {`{"id":"a","cmd":"run","fetch":[{"uri":"http://r/b"}]}`, []string{"fetch"}, `[{"uri":"http://r/b","extract":true,"executable":false,"cache":false}]`},
		"ports":                      {`{"id":"a","cmd":"run","ports":[80,0]}`, definitions, `[{"port":80,"protocol":"tcp"},{"port":0,"protocol":"tcp"}]`},
		"no ports":                   {`{"id":"a","cmd":"run","ports":[]}`, definitions, `[]`},
		"null ports":                 {`{"id":"a","cmd":"run","ports":null}`, definitions, `[{"port":0,"name":"default","protocol":"tcp"}]`},
		"default network":            {`{"id":"a","cmd":"run"}`, networks, `[{"mode":"host"}]`},
		"legacy host":                {`{"id":"a","container":{"docker":{"image":"i","network":"HOST"}}}`, networks, `[{"mode":"host"}]`},
		"legacy host drops mappings": {`{"id":"a","container":{"docker":{"image":"i","network":"HOST","portMappings":[{}]}}}`, mappings, `null`},
		"legacy bridge":              {`{"id":"a","container":{"docker":{"image":"i","network":"BRIDGE"}}}`, networks, `[{"mode":"container/bridge"}]`},
		"legacy bridge's ports":      {`{"id":"a","container":{"docker":{"image":"i","network":"BRIDGE"}}}`, mappings, `[{"containerPort":0,"hostPort":0,"name":"default",` + mapping + `}]`},
		"legacy user":                {`{"id":"a","container":{"docker":{"image":"i","network":"USER"}}}`, networks, `[{"mode":"container","name":"berth"}]`},
		"legacy user by name":        {`{"id":"a","ipAddress":{"networkName":"n","labels":{"k":"v"}},"container":{"docker":{"image":"i","network":"USER"}}}`, networks, `[{"mode":"container","name":"n","labels":{"k":"v"}}]`},
		"ipAddress":                  {`{"id":"a","cmd":"run","ipAddress":{}}`, networks, `[{"mode":"container","name":"berth"}]`},
		"ipAddress adds a container": {`{"id":"a","cmd":"run","ipAddress":{}}`, []string{"container", "type"}, `"MESOS"`},
		"ipAddress is the bridge":    {`{"id":"a","cmd":"run","ipAddress":{"networkName":"mesos-bridge"}}`, networks, `[{"mode":"container/bridge"}]`},
		"ipAddress with bridge":      {`{"id":"a","ipAddress":{"networkName":"n","labels":{"k":"v"}},"container":{"docker":{"image":"i","network":"BRIDGE"}}}`, networks, `[{"mode":"container/bridge","labels":{"k":"v"}}]`},
		"ipAddress with host":        {`{"id":"a","ipAddress":{"networkName":"n","labels":{"k":"v"}},"container":{"docker":{"image":"i","network":"HOST"}}}`, networks, `[{"mode":"host"}]`},
		"ipAddress without ports":    {`{"id":"a","cmd":"run","ports":[],"ipAddress":{}}`, mappings, `[]`},
		"ipAddress, user and ports":  {`{"id":"a","ports":[81],"ipAddress":{},"container":{"docker":{"image":"i","network":"USER"}}}`, mappings, `[{"containerPort":0,"labels":{},"protocol":"tcp","servicePort":81}]`},
		"discovery":                  {`{"id":"a","cmd":"run","ipAddress":{"discovery":{"ports":[{"number":80,"name":"http"}]}}}`, mappings, `[{"containerPort":80,"name":"http",` + mapping + `}]`},
		"empty network":              {`{"id":"a","cmd":"run","networks":[{}]}`, networks, `[{"mode":"container","name":"berth"}]`},
		"explicit empty mappings":    {`{"id":"a","networks":[{}],"container":{"docker":{"image":"i"},"portMappings":[]}}`, mappings, `[]`},
		"padded mappings":            {`{"id":"a","networks":[{}],"portDefinitions":[{},{"port":81}],"container":{"docker":{"image":"i"},"portMappings":[{"containerPort":80}]}}`, mappings, `[{"containerPort":80,` + mapping + `},{"containerPort":0,"labels":{},"protocol":"tcp","servicePort":81}]`},
		"container mode has none":    {`{"id":"a","networks":[{}],"portDefinitions":[{}],"requirePorts":true,"container":{"docker":{"image":"i"}}}`, definitions, `null`},
		"requirePorts off":           {`{"id":"a","networks":[{}],"requirePorts":true,"container":{"docker":{"image":"i"}}}`, []string{"requirePorts"}, `false`},
		"relative dependencies":      {`{"id":"/g/a","cmd":"run","dependencies":["b","/c","../d"]}`, []string{"dependencies"}, `["/g/b","/c","/d"]`},
		"id with double slash":       {`{"id":"//g//a/","cmd":"run"}`, []string{"id"}, `"/g/a"`},
		"id with dots":               {`{"id":"g/../h/a.b","cmd":"run"}`, []string{"id"}, `"/h/a.b"`},
		"enums in any case":          {`{"id":"a","cmd":"run","networks":[{"mode":"HOST"}],"portDefinitions":[{"protocol":"UDP"}]}`, definitions, `[{"port":0,"protocol":"udp"}]`},
		"integral number":            {`{"id":"a","cmd":"run","instances":3.0}`, []string{"instances"}, `3`},
		"sets":                       {`{"id":"a","cmd":"run","healthChecks":[{},{}]}`, []string{"healthChecks"}, `[{"protocol":"HTTP","gracePeriodSeconds":300,"intervalSeconds":60,"timeoutSeconds":20,"maxConsecutiveFailures":3,"delaySeconds":15,"ipProtocol":"IPv4","ignoreHttp1xx":false}]`},
		"unreachable text":           {`{"id":"a","cmd":"run","unreachableStrategy":"whatever"}`, []string{"unreachableStrategy"}, `"disabled"`},
		"resident defaults":          {`{"id":"a","cmd":"run","container":{"type":"MESOS","volumes":[{"containerPath":"d","mode":"RW","persistent":{"size":1}}]}}`, []string{"upgradeStrategy"}, `{"minimumHealthCapacity":0.5,"maximumOverCapacity":0}`},
		"resident is disabled":       {`{"id":"a","cmd":"run","container":{"type":"MESOS","volumes":[{"containerPath":"d","mode":"RW","persistent":{"size":1}}]}}`, []string{"unreachableStrategy"}, `"disabled"`},
		"group's role":               {`{"id":"/blue/a","cmd":"run","role":"blue"}`, []string{"role"}, `"blue"`},
		"small cpus":                 {`{"id":"a","cmd":"run","cpus":0.0001}`, []string{"cpus"}, `0.0001`},
		"executor resources":         {`{"id":"a","cmd":"run","executorResources":{}}`, []string{"executorResources"}, `{"cpus":0.1,"mem":32,"disk":10}`},
	} {
		t.Run(name, func(t *testing.T) {
			app := mustDecode(t, c.body)
			if diff := cmp.Diff(parsed(t, c.want), part(t, Encode(app), c.at...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			checkRoundTrip(t, app, testOptions())
		})
	}
}

// TestPortIndex: index 0 is written when ports were sent, and stays away with defaulted or legacy ones.
func TestPortIndex(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want any
	}{
		"default ports": {`{"id":"a","cmd":"run","healthChecks":[{}]}`, nil},
		"legacy ports":  {`{"id":"a","cmd":"run","ports":[80],"healthChecks":[{}]}`, nil},
		"definitions":   {`{"id":"a","cmd":"run","portDefinitions":[{}],"healthChecks":[{}]}`, 0.0},
		"mappings":      {`{"id":"a","networks":[{}],"container":{"docker":{"image":"i"},"portMappings":[{}]},"healthChecks":[{}]}`, 0.0},
		"fixed port":    {`{"id":"a","cmd":"run","portDefinitions":[{}],"healthChecks":[{"port":80}]}`, nil},
		"command":       {`{"id":"a","cmd":"run","portDefinitions":[{}],"healthChecks":[{"protocol":"COMMAND","portIndex":3,"command":{"value":"x"}}]}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			checks := part(t, Encode(mustDecode(t, c.body)), "healthChecks").([]any)
			if got := checks[0].(map[string]any)["portIndex"]; got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

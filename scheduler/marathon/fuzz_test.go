package marathon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// conformance are the definitions that the scheduler's tests send to the API: every field, every form, every fault.
const conformance = "../testdata/conformance"

func bodiesOf(t testing.TB, folder string) [][]byte {
	t.Helper()
	files, err := filepath.Glob(folder + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no definitions in", folder, err)
	}
	var bodies [][]byte
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// FuzzDecodeApp: no body makes the decoder panic, every refusal says something, and what is accepted can be sent again.
func FuzzDecodeApp(f *testing.F) {
	for _, body := range append(bodiesOf(f, "testdata"), bodiesOf(f, conformance)...) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		app, err := DecodeApp(body, testOptions())
		if err != nil {
			if faults := asFaults(t, err); faults.Syntax == "" && len(faults.Details) == 0 {
				t.Fatalf("a refusal without a reason: %+v", faults)
			}
			return
		}
		checkRoundTrip(t, app, testOptions())
	})
}

// FuzzUpdateApp does the same for updates of every app in testdata.
func FuzzUpdateApp(f *testing.F) {
	bodies := bodiesOf(f, "testdata")
	for i := range bodies {
		f.Add(i, bodies[len(bodies)-1-i])
	}
	for i, body := range bodiesOf(f, conformance) {
		f.Add(i, body)
	}
	f.Fuzz(func(t *testing.T, i int, body []byte) {
		current, err := DecodeApp(bodies[max(i, -i, 0)%len(bodies)], testOptions())
		if err != nil {
			t.Fatal(err)
		}
		if app, err := UpdateApp(current, body, true, testOptions()); err == nil {
			checkRoundTrip(t, app, testOptions())
		}
		_, _ = DecodeUpdate(body)
		_, _ = DecodeUpdates(body)
	})
}

// fragments are values that the keys of a definition may have, in old and new forms.
var fragments = map[string][]string{
	"cmd":                        {`"run"`},
	"args":                       {`[]`, `["x","y"]`},
	"instances":                  {"0", "3"},
	"networks":                   {`[]`, `[{}]`, `[{"mode":"host"}]`, `[{"mode":"container/bridge"}]`, `[{"name":"a"},{"name":"b"}]`},
	"ipAddress":                  {`{}`, `{"networkName":"n","labels":{"k":"v"}}`, `{"discovery":{"ports":[{"number":80,"name":"x"}]}}`},
	"ports":                      {`[]`, `[0]`, `[80,81]`},
	"portDefinitions":            {`[]`, `[{"name":"http-api"}]`, `[{"port":80,"labels":{"a":"b"}},{"protocol":"udp"}]`},
	"requirePorts":               {"true"},
	"uris":                       {`[]`, `["http://r/a.zip"]`},
	"fetch":                      {`[]`, `[{"uri":"x"}]`},
	"healthChecks":               {`[]`, `[{}]`, `[{"protocol":"TCP","portIndex":1}]`, `[{"protocol":"COMMAND","command":{"value":"x"}},{"port":80}]`},
	"readinessChecks":            {`[{}]`},
	"constraints":                {`[]`, `[["hostname","UNIQUE"],["a","LIKE","b.*"]]`},
	"labels":                     {`{}`, `{"a":"b"}`},
	"env":                        {`{}`, `{"A":"b","S":{"secret":"s"}}`},
	"secrets":                    {`{"s":{"source":"x"}}`},
	"dependencies":               {`[]`, `["b","b"]`},
	"upgradeStrategy":            {`{"minimumHealthCapacity":0.5,"maximumOverCapacity":0}`},
	"resourceLimits":             {`{}`, `{"cpus":"unlimited"}`, `{"mem":4096}`},
	"taskKillGracePeriodSeconds": {"0", "7"},
	"container": {`{"docker":{"image":"i"}}`, `{"docker":{"image":"i","network":"BRIDGE","portMappings":[{"containerPort":80}]}}`,
		`{"docker":{"image":"i","network":"USER"},"portMappings":[]}`, `{"docker":{"image":"i","network":"HOST","parameters":[{"key":"a","value":"b"}]}}`,
		`{"type":"MESOS","docker":{"image":"i"},"portMappings":[{"name":"http-api"},{"hostPort":0}]}`,
		`{"type":"MESOS","volumes":[{"containerPath":"d","mode":"RW","persistent":{"size":1}},{"containerPath":"/x","hostPath":"/y","mode":"RO"}]}`},
}

// drawBody takes few keys, as most that contradict each other make most bodies invalid.
func drawBody(t *rapid.T, label string, fields ...string) string {
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(sortedKeys(fragments)), 0, 6, rapid.ID[string]).Draw(t, label+"keys") {
		fields = append(fields, `"`+key+`":`+rapid.SampledFrom(fragments[key]).Draw(t, label+key))
	}
	return `{` + strings.Join(fields, ",") + `}`
}

// TestRoundTripProperty combines the fragments freely: whatever is accepted, as a definition or as an update, holds.
func TestRoundTripProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app, err := DecodeApp([]byte(drawBody(t, "", `"id":"/g/a"`, `"user":"u"`)), testOptions())
		if err != nil {
			app, err = DecodeApp([]byte(`{"id":"/g/a","cmd":"run"}`), testOptions())
			if err != nil {
				t.Fatalf("%v", err)
			}
		}
		checkRoundTrip(t, app, testOptions())
		updated, err := UpdateApp(app, []byte(drawBody(t, "new ")), true, testOptions())
		if err == nil {
			checkRoundTrip(t, updated, testOptions())
		}
	})
}

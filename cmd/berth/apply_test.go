package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/spec"
)

func TestSplitDefinitions(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string
		err  string
	}{
		"bytes stay":       {in: `{ "id" : "a", "x":1.50 }`, want: []string{`{ "id" : "a", "x":1.50 }`}},
		"stream":           {in: "{\"id\":\"a\"}\n{\"id\":\"/b\"}", want: []string{`{"id":"a"}`, `{"id":"/b"}`}},
		"array":            {in: `[{"id":"a"} , {"id":"b"}]`, want: []string{`{"id":"a"}`, `{"id":"b"}`}},
		"byte order mark":  {in: "\xef\xbb\xbf{\"id\":\"a\"}", want: []string{`{"id":"a"}`}},
		"nothing":          {in: " \n"},
		"cut off":          {in: "{\"id\":\n\"a\"", err: "f:2:4: not JSON: unexpected EOF"},
		"broken":           {in: "{\"id\":\n  \"a\",}", err: "f:2:7: not JSON"},
		"broken second":    {in: "{\"id\":\"a\"}\n{\"id\" 1}", err: "f:2:7: not JSON"},
		"number":           {in: "7", err: "a definition is a JSON object"},
		"id of wrong type": {in: `{"id":7}`, err: `no usable "id"`},
		"pod":              {in: `{"id":"a","containers":[]}`, want: []string{`{"id":"a","containers":[]}`}},
		"group":            {in: `{"id":"/","groups":[]}`, want: []string{`{"id":"/","groups":[]}`}},
		"nameless group":   {in: `[{"id":"a"},{"apps":[]}]`, err: `f, document 2: this group has no "id"`},
		"element is null":  {in: `[null]`, err: "a definition is a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			defs, err := splitDefinitions([]byte(c.in), "f")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range defs {
				got = append(got, string(d.body))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzSplitDefinitions(f *testing.F) {
	for _, seed := range []string{`{"id":"a"}`, `[{"id":"a"}]`, `[`, "\xef\xbb\xbf", `{"id":"a"}x`, `[[]]`, "null"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		defs, err := splitDefinitions(data, "f")
		for _, d := range defs {
			if err != nil || !strings.HasPrefix(string(d.id), "/") || len(d.body) == 0 {
				t.Fatalf("%+v beside %v", d, err)
			}
		}
	})
}

func TestProgress(t *testing.T) {
	list := &api.InstanceList{Instances: []api.Instance{
		{App: "/a", Seat: 0, State: "running", Ready: true},
		{App: "/a", Seat: 1, State: "waiting", Why: []string{"no memory"}},
		{App: "/b", Seat: 0, State: "running", Ready: true, Outdated: true},
		{App: "/b", Seat: 1, State: "running", Ready: true, Temporary: true},
		{App: "/c", Seat: 0, State: "running", Ready: true},
	}}
	for name, c := range map[string]struct {
		app     string
		text    string
		reached bool
	}{
		"waits":   {"a", "/a 1/2 ready, waits: no memory", false},
		"updates": {"b", "/b 0/1 ready, 1 to go", false},
		"done":    {"c", "/c 1/1 ready", true},
		"gone":    {"d", "/d has no instances", true},
	} {
		t.Run(name, func(t *testing.T) {
			text, reached := progress(list, []spec.AppID{absolute(c.app)})
			if text != c.text || reached != c.reached {
				t.Errorf("got %q, %v; want %q, %v", text, reached, c.text, c.reached)
			}
		})
	}
}

func TestShortDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": -time.Second, "59s": 59 * time.Second, "119s": 119 * time.Second, "2m": 2 * time.Minute, "119m": 119 * time.Minute,
		"2h": 2 * time.Hour, "47h": 47 * time.Hour, "2d": 48 * time.Hour,
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"none":        {nil, 0},
		"usage":       {errors.New("unknown flag"), 2},
		"failed":      {&failure{errors.New("x")}, 1},
		"refused":     {&failure{doing(newAPIError(422, nil), "apply")}, 3},
		"missing":     {&failure{doing(newAPIError(404, nil), "apply")}, 1},
		"timeout":     {&failure{doing(errTimeout, "wait")}, 4},
		"interrupted": {&failure{errInterrupted}, 130},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			called := newWeightCommand(&cli{})
			if got := exitCode(&out, called, c.err); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
			if got := strings.Contains(out.String(), "Usage: "+called.UseLine()); got != (c.want == exitUsage) {
				t.Errorf("said how it is called: %v, in %q", got, out.String())
			}
		})
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/scheduler/api"
)

func TestJournalArgs(t *testing.T) {
	for _, c := range []struct {
		o    api.LogOptions
		want string
	}{
		{api.LogOptions{Units: []string{"nginx"}, Tail: -1}, "journalctl --no-pager --unit=nginx"},
		{api.LogOptions{Units: []string{"a", "b@1.service"}, Tail: 5}, "journalctl --no-pager --unit=a --unit=b@1.service --lines=5"},
		{api.LogOptions{Units: []string{"a"}, Tail: -1, Follow: true}, "journalctl --no-pager --unit=a --lines=all --follow"},
		{api.LogOptions{Units: []string{"$(reboot)"}, Tail: 0}, "journalctl --no-pager --unit=$(reboot) --lines=0"}, // no shell reads it
	} {
		if got := strings.Join(journalArgs(c.o), " "); got != c.want {
			t.Errorf("%+v: %s", c.o, got)
		}
	}
}

// answers plays a container in which a command ends like this.
type answers struct {
	code   int
	stderr string
	err    error
}

func (a answers) ExecTo(_ context.Context, _ string, _ []string, stdout, stderr io.Writer) (int, error) {
	_, _ = io.WriteString(stdout, "a line\n")
	_, _ = io.WriteString(stderr, a.stderr)
	return a.code, a.err
}

func TestUnitLogs(t *testing.T) {
	for name, c := range map[string]struct {
		answers
		want    string
		refused bool
	}{
		"all is well":     {answers{}, "", false},
		"no such program": {answers{err: errors.New(`exec: "journalctl": executable file not found in $PATH`)}, "has no journalctl", true},
		"no program":      {answers{code: 127}, "has no journalctl", true},
		"no unit":         {answers{code: 1, stderr: "No journal files were found.\n"}, "No journal files were found.", true},
		"no word":         {answers{code: 3}, "journalctl ends with 3", false},
		"a broken engine": {answers{err: errors.New("connection lost")}, "connection lost", false},
	} {
		var out bytes.Buffer
		err := unitLogs(t.Context(), c.answers, "x", api.LogOptions{Units: []string{"nginx"}, Tail: -1}, &out)
		var refused *api.RefusedError
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || errors.As(err, &refused) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
		if out.String() != "a line\n" {
			t.Errorf("%s: wrote %q", name, out.String())
		}
	}
}

func TestRollOut(t *testing.T) {
	for _, c := range []struct{ app, want string }{
		{`{"id":"/web","container":{"type":"DOCKER","docker":{"image":"web:1","forcePullImage":true},"volumes":[]}}`,
			`{"container":{"docker":{"forcePullImage":true,"image":"web:2"},"type":"DOCKER","volumes":[]},"id":"/web"}`},
		{`{"id":"/web","cmd":"sleep 1"}`, `{"container":{"docker":{"image":"web:2"},"type":"DOCKER"},"id":"/web"}`},
		{``, ``},
	} {
		var definition []byte
		if c.app != "" {
			definition = []byte(c.app)
		}
		if got := string(rollOut("/web", definition, "web:2")); !cmp.Equal(got, c.want) {
			t.Errorf("%s: %s", c.app, got)
		}
	}
}

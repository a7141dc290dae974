package main

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/berth-project/berth/images/builder"
)

// TestBuildScreenBounds: a step that never ends its line does not fill the memory, and what it has drawn last is what is known of it.
func TestBuildScreenBounds(t *testing.T) {
	s := &buildScreen{c: &cli{err: new(bytes.Buffer)}, mu: new(sync.Mutex)}
	for range 3 * keptBytes {
		s.output("x\ry")
	}
	if s.partial != "y" {
		t.Errorf("%d bytes are kept of a line that is drawn again and again", len(s.partial))
	}
	s.partial = ""
	for range 3 * keptBytes {
		s.output("z")
	}
	if len(s.partial) != keptBytes {
		t.Errorf("%d bytes are kept of a long line", len(s.partial))
	}
}

func TestBuildScreen(t *testing.T) {
	play := func(s *buildScreen) {
		r := s.report()
		r.Say("waiting")
		r.Step("[1/3] one")
		r.Reused()
		r.Step("[2/3] two")
		r.Output("")
		r.Output("half a ")
		r.Output("line, drawn\r")
		r.Output("half a line\n\x1b[91mred\x1b[0m 1%\r2%\r3%\n")
		r.Output("last")
	}
	failed := &builder.StepError{Title: "two", Err: errors.New("no")}
	for name, c := range map[string]struct {
		screen buildScreen
		err    error
		want   string
	}{
		"plain":   {buildScreen{}, nil, "waiting\n[1/3] one (as before)\n[2/3] two\n"},
		"several": {buildScreen{prefix: "a: "}, nil, "a: waiting\na: [1/3] one (as before)\na: [2/3] two\n"},
		"failed":  {buildScreen{}, failed, "waiting\n[1/3] one (as before)\n[2/3] two\n    half a line\n    3%\n    last\n"},
		"verbose": {buildScreen{verbose: true}, failed, "waiting\n[1/3] one (as before)\n[2/3] two\n    half a line\n    3%\n    last\n"},
		"in place": {
			buildScreen{inPlace: true}, nil,
			"^waiting\n^[1/3] one^[1/3] one (as before)\n^[2/3] two^[2/3] two  half a line^[2/3] two  3%^[2/3] two (0.0 s)\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s := c.screen
			s.c, s.mu = &cli{err: &out}, new(sync.Mutex)
			play(&s)
			s.finish(t.Context(), c.err)
			if got := strings.ReplaceAll(out.String(), "\r\x1b[K", "^"); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

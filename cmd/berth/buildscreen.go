package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/images/builder"
)

// keptLines is how much of a failed step's output is shown, and keptBytes how much of a line that does not end.
const (
	keptLines = 40
	keptBytes = 8 << 10
)

// buildScreen shows how one build goes on: in place, a line a step, when a person watches a single one; else in plain lines.
type buildScreen struct {
	c       *cli
	mu      *sync.Mutex // guards the stream, which builds share
	prefix  string
	verbose bool
	inPlace bool

	title   string // of the step that is on, "" for none
	started time.Time
	reused  bool
	shown   bool     // its line is there, if lines are plain
	tail    []string // its last lines
	partial string   // its last line, as far as it has come
}

func (s *buildScreen) report() builder.Report {
	return builder.Report{Say: s.say, Step: s.step, Reused: s.asBefore, Output: s.output, Ended: s.ended}
}

// line prints a whole line, in the place of one that was drawn.
func (s *buildScreen) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inPlace {
		fmt.Fprint(s.c.err, "\r\x1b[K")
	}
	fmt.Fprintf(s.c.err, "%s%s\n", s.prefix, text)
}

// draw replaces the last line on the terminal.
func (s *buildScreen) draw(text string) {
	if limit := s.c.width; limit > 0 {
		if runes := []rune(text); len(runes) >= limit {
			text = string(runes[:limit-1])
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprint(s.c.err, "\r\x1b[K"+text)
}

func (s *buildScreen) say(text string) {
	s.line(text)
	if s.inPlace && s.title != "" {
		s.draw(s.title)
	}
}

func (s *buildScreen) step(title string) {
	s.ended()
	title = printable(title) // paths of the description are in it
	s.title, s.started, s.reused, s.tail, s.partial = title, time.Now(), false, nil, ""
	s.shown = false
	if s.inPlace {
		s.draw(title)
	}
}

// show prints the step as a plain line, once it is known to take time.
func (s *buildScreen) show() {
	if !s.inPlace && !s.shown && s.title != "" {
		s.shown = true
		s.line(s.title)
	}
}

func (s *buildScreen) asBefore() { s.reused = true }

func (s *buildScreen) ended() {
	if s.title == "" {
		return
	}
	took := time.Since(s.started)
	switch {
	case s.reused:
		s.line(s.title + " (as before)")
	case s.inPlace:
		s.line(fmt.Sprintf("%s (%.1f s)", s.title, took.Seconds()))
	case !s.shown:
		s.show()
	case took >= time.Second:
		number, _, _ := strings.Cut(s.title, " ")
		s.line(fmt.Sprintf("%s done after %.1f s", number, took.Seconds()))
	}
	s.title = ""
}

// output takes what the step prints, in pieces that end anywhere.
func (s *buildScreen) output(text string) {
	s.show()
	lines := strings.Split(s.partial+text, "\n")
	s.partial = unfinished(lines[len(lines)-1])
	for _, l := range lines[:len(lines)-1] {
		l = strings.TrimRight(printable(lastOf(l, "\r")), " \t")
		if l == "" {
			continue
		}
		if s.tail = append(s.tail, l); len(s.tail) > keptLines {
			s.tail = s.tail[1:]
		}
		if s.verbose {
			s.line("    " + l)
		} else if s.inPlace {
			s.draw(s.title + "  " + l)
		}
	}
}

// unfinished is what is worth keeping of a line that has not ended: what would still be seen, and not without bound.
func unfinished(line string) string {
	if drawn := strings.TrimRight(line, "\r"); strings.Contains(drawn, "\r") {
		line = line[strings.LastIndex(drawn, "\r")+1:]
	}
	return line[max(0, len(line)-keptBytes):]
}

// lastOf is what of a line would still be seen where a step has drawn it several times.
func lastOf(line, sep string) string {
	line = strings.TrimRight(line, sep)
	return line[strings.LastIndex(line, sep)+1:]
}

// colours are what the engine puts around what a step writes to its stderr.
var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// printable keeps a step's escapes from the terminal.
func printable(l string) string {
	l = colours.ReplaceAllString(l, "")
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, l)
}

// finish shows what a step that failed has said.
func (s *buildScreen) finish(ctx context.Context, err error) {
	s.ended()
	var failed *builder.StepError
	if err == nil || ctx.Err() != nil || !errors.As(err, &failed) {
		return
	}
	if s.verbose {
		s.tail = nil // it was shown
	}
	if last := printable(s.partial); last != "" {
		s.tail = append(s.tail, last)
	}
	for _, l := range s.tail {
		s.line("    " + l)
	}
}

// Command testsummary reads the output of `go test -json` and prints what a person wants to know of it: a line a package,
// the output of what failed, the reason of what was skipped, the tables that a test printed (lines of Markdown that begin with "|").
//
//	go test -json ./... | testsummary [-counts FILE] [-no-skips]
//
// With -counts, the numbers are added to those in the file, so that several runs make one sum. It exits with 1 when
// something failed, with -no-skips also when something was skipped.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

func main() {
	counts := flag.String("counts", "", "file that the numbers are added to")
	noSkips := flag.Bool("no-skips", false, "a skipped test is a failure")
	flag.Parse()
	s, err := summarize(os.Stdin, os.Stdout)
	if err == nil && *counts != "" {
		err = addCounts(*counts, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(1)
	}
	if s.failed > 0 || *noSkips && s.skipped > 0 {
		os.Exit(1)
	}
}

// event is one line of `go test -json` (see `go doc test2json`), and of a failed build.
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

// summary counts tests without their subtests; a package that failed outside of its tests (build, panic, exit) counts as one.
type summary struct{ passed, failed, skipped int }

// key names a test, or with an empty test a package.
type key struct{ pkg, test string }

// reader keeps what is not printed yet: the output of each test until it is known how the test ended.
type reader struct {
	summary
	out    io.Writer
	output map[key][]string
	failed map[string]int // package -> failed tests in it
}

func summarize(in io.Reader, out io.Writer) (summary, error) {
	r := reader{out: out, output: map[key][]string{}, failed: map[string]int{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Action == "" {
			// What the go command itself says, such as that a package is not there, is no JSON.
			fmt.Fprintln(out, lines.Text())
			continue
		}
		r.take(e)
	}
	if err := lines.Err(); err != nil {
		return r.summary, fmt.Errorf("read test events: %w", err)
	}
	return r.summary, nil
}

func (r *reader) take(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "output":
		r.output[k] = append(r.output[k], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(e)
		}
		delete(r.output, k)
	}
}

func (r *reader) endTest(e event) {
	top := !strings.Contains(e.Test, "/")
	switch e.Action {
	case "pass":
		if top {
			r.passed++
		}
		for _, line := range r.output[key{e.Package, e.Test}] {
			if strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "|-") {
				fmt.Fprint(r.out, "      "+line)
			}
		}
	case "fail":
		r.failed[e.Package]++
		if top {
			r.summary.failed++
		}
		fmt.Fprintf(r.out, "FAIL  %s %s (%.1f s)\n%s", e.Package, e.Test, e.Elapsed, r.text(e))
	case "skip":
		// A skipped part of a test counts, too: it is something that was not tested.
		r.skipped++
		fmt.Fprintf(r.out, "SKIP  %s %s\n%s", e.Package, e.Test, r.text(e))
	}
}

func (r *reader) endPackage(e event) {
	switch {
	case e.Action == "fail" && r.failed[e.Package] == 0:
		r.summary.failed++
		fmt.Fprintf(r.out, "FAIL  %s\n%s", e.Package, r.text(e))
	case e.Action == "fail":
		fmt.Fprintf(r.out, "FAIL  %s (%.1f s)\n", e.Package, e.Elapsed)
	case e.Action == "pass":
		fmt.Fprintf(r.out, "ok    %s (%.1f s)\n", e.Package, e.Elapsed)
	}
	// A package of which all is skipped has no tests.
}

// text is the test's output, indented, without the lines by which the testing package frames it.
func (r *reader) text(e event) string {
	var b strings.Builder
	for _, line := range r.output[key{e.Package, e.Test}] {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "=== ") || strings.HasPrefix(trimmed, "--- ") {
			continue
		}
		b.WriteString("      " + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}

// addCounts adds the numbers to the three in the file, which need not exist.
func addCounts(path string, s summary) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the counts of earlier runs: %w", err)
	}
	var before summary
	if len(old) > 0 {
		if _, err := fmt.Sscan(string(old), &before.passed, &before.failed, &before.skipped); err != nil {
			return fmt.Errorf("read the counts in %s: %w", path, err)
		}
	}
	sum := fmt.Sprintln(before.passed+s.passed, before.failed+s.failed, before.skipped+s.skipped)
	if err := os.WriteFile(path, []byte(sum), 0o644); err != nil {
		return fmt.Errorf("write the counts: %w", err)
	}
	return nil
}

package main

import (
	"strings"
	"testing"
)

func TestShow(t *testing.T) {
	const output = `goos: linux
BenchmarkA/x=1-2   100  50 ns/op  20 things/s
BenchmarkA/x=1-2   100  70 ns/op  40 things/s
BenchmarkA/x=1-2   100  60 ns/op  30 things/s
BenchmarkA/x=2-2   100  60 ns/op  12345.6 things/s
PASS
`
	for _, c := range []struct {
		name, aims, want string
		missed           int
		fails            bool
	}{
		{"no aims", "# nothing\n", "", 0, false},
		{"reached", "BenchmarkA/x=1 things/s >= 30\n", "50 ns/op  40 things/s     ok: >= 30", 0, false},
		{"missed", "BenchmarkA/x=1 ns/op <= 49\n", "MISSED: <= 49", 1, false},
		{"a ratio", "BenchmarkA/x=2 things/s >= 2 BenchmarkA/x=1\n", "ok: >= 2 x A/x=1, is 308.64", 0, false},
		{"to one that did not run", "BenchmarkA/x=2 things/s >= 2 BenchmarkB\n", "(BenchmarkB did not run)", 0, false},
		{"of another benchmark", "BenchmarkB things/s >= 2\n", "", 0, false},
		{"no such unit", "BenchmarkA/x=1 apples >= 2\n", "", 0, true},
		{"no such relation", "BenchmarkA/x=1 ns/op = 2\n", "", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			missed, err := show(strings.NewReader(output), &out, c.aims)
			if missed != c.missed || (err != nil) != c.fails || !c.fails && (!strings.Contains(out.String(), c.want) || !strings.Contains(out.String(), "goos: linux")) {
				t.Errorf("%d missed, %v\n%s", missed, err, out.String())
			}
		})
	}
}

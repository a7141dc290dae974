package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     summary
		has      []string
	}{
		{
			name: "tests count, subtests do not",
			in: `{"Action":"run","Package":"p","Test":"A"}
{"Action":"pass","Package":"p","Test":"A/sub"}
{"Action":"pass","Package":"p","Test":"A"}
{"Action":"pass","Package":"p","Elapsed":0.2}`,
			want: summary{passed: 1},
			has:  []string{"ok    p (0.2 s)"},
		},
		{
			name: "a failure shows its output once",
			in: `{"Action":"output","Package":"p","Test":"A","Output":"=== RUN   A\n"}
{"Action":"output","Package":"p","Test":"A","Output":"    a_test.go:3: no good\n"}
{"Action":"output","Package":"p","Test":"A","Output":"--- FAIL: A (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"A"}
{"Action":"fail","Package":"p"}`,
			want: summary{failed: 1},
			has:  []string{"FAIL  p A (0.0 s)\n          a_test.go:3: no good\n"},
		},
		{
			name: "a package that does not build is a failure",
			in: `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: undefined: x\n"}
{"Action":"fail","Package":"p"}`,
			want: summary{failed: 1},
			has:  []string{"undefined: x", "FAIL  p"},
		},
		{
			name: "a skip says why, also one of a subtest",
			in: `{"Action":"output","Package":"p","Test":"A/s","Output":"    a_test.go:9: needs root\n"}
{"Action":"skip","Package":"p","Test":"A/s"}
{"Action":"pass","Package":"p","Test":"A"}`,
			want: summary{passed: 1, skipped: 1},
			has:  []string{"SKIP  p A/s\n          a_test.go:9: needs root"},
		},
		{
			name: "a table is shown also of a test that passes",
			in: `{"Action":"output","Package":"p","Test":"A","Output":"| a | b |\n"}
{"Action":"output","Package":"p","Test":"A","Output":"|---|---|\n"}
{"Action":"output","Package":"p","Test":"A","Output":"said in passing\n"}
{"Action":"pass","Package":"p","Test":"A"}`,
			want: summary{passed: 1},
			has:  []string{"      | a | b |\n      |---|---|\n"},
		},
		{
			name: "a package without tests counts for nothing",
			in:   `{"Action":"skip","Package":"p"}`,
		},
		{
			name: "what is no JSON is passed on",
			in:   "go: cannot find main module",
			has:  []string{"go: cannot find main module"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			got, err := summarize(strings.NewReader(c.in), &out)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(summary{})); d != "" {
				t.Error(d)
			}
			for _, want := range c.has {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the output lacks %q:\n%s", want, &out)
				}
			}
		})
	}
}

func TestAddCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts")
	for range 2 {
		if err := addCounts(path, summary{passed: 3, failed: 1, skipped: 2}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(b)); got != "6 2 4" {
		t.Errorf("the sum of two runs is %q", got)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := addCounts(path, summary{}); err == nil {
		t.Error("a broken file is accepted")
	}
}

package scheduler

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// examplesEnv names a folder of Marathon definitions and answers collected from public repositories: JSON files, INDEX.tsv
// (one line a file, its name first) and EXPECT.tsv (name, recorded outcome).
const examplesEnv = "BERTH_MARATHON_EXAMPLES"

// exampleRows is what is known of single files of the examples; see row.
const exampleRows = "testdata/conformance/examples.tsv"

// row is one line of examples.tsv: what a file, or all files of a pattern, is sent as, what is expected, and why. A file
// without a row is sent as what its keys say and must be accepted, unless EXPECT.tsv says otherwise.
type row struct {
	pattern string // of path.Match; "*" matches any text, as names have no slash; "#2" behind it: the third definition
	as      string // see sendings; "" means by its keys
	want    string // "accepted", "refused /path" with the path of a fault, "400", or "none": there is nothing to send
	why     string
}

func (r row) matches(file string, i int) bool {
	pattern, index, only := strings.Cut(r.pattern, "#")
	ok, err := path.Match(pattern, file)
	return ok && err == nil && (!only || index == fmt.Sprint(i))
}

func readRows(t *testing.T, file string) []row {
	t.Helper()
	var rows []row
	for _, line := range readLines(t, file) {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 4 || f[3] == "" {
			t.Fatalf("%s: %q has not four columns, the last the reason", file, line)
		}
		rows = append(rows, row{f[0], strings.TrimSuffix(f[1], "-"), f[2], f[3]})
	}
	return rows
}

func readLines(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimRight(string(text), "\n"), "\n")
}

// outcome is how one definition fared.
type outcome struct{ file, result, verdict, why string }

// TestConformance sends every example to the API over a real scheduler and holds the answer against what is expected. It
// prints one line a file and fails when one is different or unexplained. Each accepted definition makes its round trip.
func TestConformance(t *testing.T) {
	dir := os.Getenv(examplesEnv)
	if dir == "" {
		t.Skipf("%s is not set", examplesEnv)
	}
	recorded := map[string]string{}
	for _, line := range readLines(t, filepath.Join(dir, "EXPECT.tsv"))[1:] {
		if name, text, ok := strings.Cut(line, "\t"); ok {
			recorded[name] = text
		}
	}
	rows := readRows(t, exampleRows)
	used := make([]bool, len(rows))
	var all []outcome
	files := 0
	for _, line := range readLines(t, filepath.Join(dir, "INDEX.tsv"))[1:] {
		file, _, _ := strings.Cut(line, "\t")
		body, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		files++
		as := ""
		if i := slices.IndexFunc(rows, func(r row) bool { return r.as != "" && r.matches(file, 0) }); i >= 0 {
			as = rows[i].as
		}
		for i, s := range sendings(t, body, as) {
			o := outcome{file: file, result: "nothing to send"}
			if s.method != "" {
				synctest.Test(t, func(t *testing.T) { o.result = newDesk(t).try(s) })
			}
			at := slices.IndexFunc(rows, func(r row) bool { return r.want != "" && r.matches(file, i) })
			want := row{want: wanted(recorded[file])}
			if at >= 0 {
				want, used[at] = rows[at], true
			}
			o.verdict, o.why = judge(o.result, want, recorded[file])
			all = append(all, o)
		}
	}
	for i, r := range rows {
		if !used[i] && r.want != "" {
			t.Errorf("%s: the line for %s is of no use", exampleRows, r.pattern)
		}
	}
	report(t, files, all)
}

// wanted turns the recorded outcome into the form of a row.
func wanted(recorded string) string {
	switch {
	case strings.HasPrefix(recorded, "422"):
		return "refused"
	case strings.HasPrefix(recorded, "400"):
		return "400"
	}
	return "accepted"
}

// judge compares a result with the expected one.
func judge(result string, want row, recorded string) (verdict, why string) {
	matches := false
	switch kind, rest, _ := strings.Cut(want.want, " "); kind {
	case "accepted":
		matches = result == "accepted"
	case "none":
		matches = result == "nothing to send"
	case "400":
		matches = strings.HasPrefix(result, "400 ")
	case "refused":
		matches = strings.HasPrefix(result, "422 ") && strings.Contains(result, rest)
	}
	switch {
	case !matches:
		return "DIFFERENT", "expected " + want.want + " " + want.why + recorded
	case want.want == "none":
		return "no definition", want.why
	case want.why != "":
		if want.want == "accepted" {
			return "accepted", want.why
		}
		return "refused, explained", want.why
	case want.want == "accepted":
		return "accepted", ""
	}
	return "refused as recorded", recorded
}

// report prints the table and its sums.
func report(t *testing.T, files int, all []outcome) {
	t.Helper()
	sums := map[string]int{}
	var b strings.Builder
	for _, o := range all {
		sums[o.verdict]++
		fmt.Fprintf(&b, "%-19s %s: %s", o.verdict, o.file, o.result)
		if o.why != "" {
			fmt.Fprintf(&b, " (%s)", o.why)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d files, %d definitions and other parts", files, len(all))
	for _, verdict := range []string{"accepted", "refused as recorded", "refused, explained", "no definition", "DIFFERENT"} {
		fmt.Fprintf(&b, "; %s: %d", verdict, sums[verdict])
	}
	t.Log("\n" + b.String())
	for _, o := range all {
		if o.verdict == "DIFFERENT" {
			t.Errorf("%s: %s\n  %s", o.file, o.result, o.why)
		}
	}
}

// TestOwnDefinitions does the same with definitions of the project's own: they show every field, every legacy form and
// every refusal. What the API answers stands in NAME.golden.
func TestOwnDefinitions(t *testing.T) {
	files, err := filepath.Glob("testdata/conformance/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no definitions", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			as, _, _ := strings.Cut(name, "-")
			if as == "invalid" {
				as = ""
			}
			var got strings.Builder
			for _, s := range sendings(t, body, as) {
				synctest.Test(t, func(t *testing.T) {
					d := newDesk(t)
					result := d.try(s)
					if strings.HasPrefix(name, "invalid-") == (result == "accepted") {
						t.Error(result)
					}
					got.WriteString(d.transcript.String())
				})
			}
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("(-want +got, -update rewrites)\n%s", diff)
			}
		})
	}
}

// object reads JSON for the tests' own looking; nil when it is no object.
func object(body []byte) map[string]any {
	var o map[string]any
	_ = json.Unmarshal(body, &o)
	return o
}

package unit

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// TestCorpus reads the units and scripts of real packages, if BERTH_CORPUS names a folder in which each is unpacked below its own name. All have to
// be loaded, and whatever has no effect has to have a reason: a key that nobody knows, or a value that nobody understands, is a fault of ours.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("BERTH_CORPUS")
	if corpus == "" {
		t.Skip("BERTH_CORPUS names no folder of unpacked packages")
	}
	packages, err := filepath.Glob(filepath.Join(corpus, "*"))
	if err != nil || len(packages) == 0 {
		t.Fatalf("no packages in %s: %v", corpus, err)
	}
	units, reasons := 0, map[string]int{}
	for _, pkg := range packages {
		s := New(os.DirFS(pkg), Environment{Hostname: "h", MachineID: strings.Repeat("0", 32), BootID: "b"})
		for _, name := range s.Names() {
			units++
			if IsTemplate(name) {
				name = Instance(name, "x")
			}
			u := s.Unit(name)
			if u.Load != Loaded && u.Load != Masked {
				t.Errorf("%s: %s is %s: %s", filepath.Base(pkg), name, u.Load, u.Problem)
			}
			for _, i := range u.Ignored {
				reasons[i.Reason]++
				if doubtful(i.Reason) {
					t.Errorf("%s: %s: %s: %s", filepath.Base(pkg), name, i.Setting, i.Reason)
				}
			}
			if u.Timer != nil && u.Timer.Refused != "" {
				t.Logf("%s: %s: %s", filepath.Base(pkg), name, u.Timer.Refused)
			}
			if s.FileState(name) == "" {
				t.Errorf("%s: %s has no state", filepath.Base(pkg), name)
			}
		}
	}
	var lines []string
	for reason := range reasons {
		lines = append(lines, reason)
	}
	sort.Slice(lines, func(i, j int) bool { return reasons[lines[i]] > reasons[lines[j]] })
	for _, reason := range lines {
		t.Logf("%4d %s", reasons[reason], reason)
	}
	t.Logf("%d units of %d packages", units, len(packages))
}

func doubtful(reason string) bool {
	for _, word := range []string{"unknown", "\" is not", "none of", "not understood", "neither an"} {
		if strings.Contains(reason, word) {
			return true
		}
	}
	return false
}

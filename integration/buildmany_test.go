//go:build integration && slow

package integration

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBuildHundred submits a hundred builds of a hundred processes together: none fails, no more go on at a time than there are
// cores, the cores are not idle meanwhile, and what is the same in all of them is built once.
func TestBuildHundred(t *testing.T) {
	const many = 100
	w := newWorkshop(t, map[string]int{"it-alpha": 500})
	cores := 0
	if _, err := fmt.Sscan(w.engine.Docker("info", "-f", "{{.NCPU}}"), &cores); err != nil {
		t.Fatal(err)
	}
	for i := range many {
		name := fmt.Sprintf("app%d", i)
		w.recipe(name, "1", "packages: [it-alpha]\nfiles: [{source: own, destination: /etc/}]\n")
		w.write(name+"/own", name)
	}
	var wg sync.WaitGroup
	outs, errs, failed := make([]*bytes.Buffer, many), make([]*bytes.Buffer, many), make([]error, many)
	began := time.Now()
	for i := range many {
		var cmd *exec.Cmd
		cmd, outs[i], errs[i] = w.command(t.Context(), fmt.Sprintf("app%d", i), "-o", "json")
		wg.Go(func() { failed[i] = cmd.Run() })
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	busy, base := 0.0, ""
	for i := range many {
		if failed[i] != nil {
			t.Errorf("build %d: %v: %s", i, failed[i], errs[i])
			continue
		}
		r := decodeResults(t, outs[i].String())[0]
		busy += r.BuildSeconds
		layers := strings.Fields(w.engine.Docker("image", "inspect", "-f", "{{range .RootFS.Layers}}{{.}} {{end}}", r.Image))
		if shared := strings.Join(layers[:len(layers)-1], " "); base == "" {
			base = shared
		} else if shared != base {
			t.Errorf("build %d shares not all layers but its own", i)
		}
	}
	t.Logf("%d builds on %d cores: %.0f s, of which each core built for %.0f s", many, cores, took, busy/float64(cores))
	if busy > took*float64(cores)*1.02 {
		t.Errorf("more than %d builds went on at a time: %.0f s of work in %.0f s", cores, busy, took)
	}
	if took > busy/float64(cores)*1.25+10 {
		t.Errorf("the cores were idle: %.0f s of work on %d of them took %.0f s", busy, cores, took)
	}
}

package builder

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestMain lets the test binary be another process in the queue: it says when it is in, and stays until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("BERTH_TEST_QUEUE"); dir != "" {
		_, err := Queue{dir, 1}.Enter(context.Background(), func(before int) { fmt.Println("before", before) })
		fmt.Println("in", err)
		select {}
	}
	os.Exit(m.Run())
}

// other starts another process and hands out what it says.
func other(t *testing.T, dir string) (*exec.Cmd, func(want string)) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "BERTH_TEST_QUEUE="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	return cmd, func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
		}
		t.Fatalf("it never said %q", want)
	}
}

func TestQueueOfProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	first, firstSays := other(t, dir)
	firstSays("in <nil>")
	second, secondSays := other(t, dir)
	secondSays("before 0")
	_, thirdSays := other(t, dir)
	thirdSays("before 1")
	_ = second.Process.Kill()
	thirdSays("before 0")
	_ = first.Process.Kill()
	thirdSays("in <nil>")
	left, _ := filepath.Glob(filepath.Join(dir, ticketPrefix+"*"))
	if len(left) > 1 { // the last removes its own after it has said that it is in
		t.Errorf("tickets are left: %v", left)
	}
}

func TestQueueOrderAndBound(t *testing.T) {
	q := Queue{filepath.Join(t.TempDir(), "a", "queue"), 3}
	var at, most atomic.Int32
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			leave, err := q.Enter(t.Context(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer leave()
			if n := at.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer at.Add(-1)
			// Another's look at the queue gives the rest a chance to break the bound.
			if _, err := q.before("ticket-~"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 {
		t.Errorf("%d at a time", most.Load())
	}
	files, _ := os.ReadDir(q.Dir)
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), "slot-") {
			t.Errorf("%s is left", f.Name())
		}
	}
}

func TestQueueGivenUp(t *testing.T) {
	q := Queue{t.TempDir(), 1}
	leave, err := q.Enter(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = q.Enter(ctx, func(int) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n, err := q.before("ticket-~"); n != 0 || err != nil {
		t.Errorf("%d tickets are left, %v", n, err)
	}
}

func TestQueueAbandoned(t *testing.T) {
	q := Queue{t.TempDir(), 1}
	old := time.Now().Add(-time.Hour)
	for _, name := range []string{ticketPrefix + "0001-dead", newPrefix + "dead"} {
		file := filepath.Join(q.Dir, name)
		if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Chtimes(file, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	leave, err := q.Enter(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	if files, _ := os.ReadDir(q.Dir); len(files) != 1 {
		t.Errorf("what was abandoned is left: %v", files)
	}
}

// TestQueueLinks: nobody can have another's files made or locked through a link.
func TestQueueLinks(t *testing.T) {
	q := Queue{t.TempDir(), 1}
	target := filepath.Join(t.TempDir(), "target")
	if err := os.Symlink(target, filepath.Join(q.Dir, "slot-0")); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enter(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "slot-0") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("a file was made through a link")
	}
}

package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/scheduler/store"
	"github.com/berth-project/berth/spec"
)

// crashVar makes this test binary the writer that is killed: it names the file.
const crashVar = "BERTH_STORE_TEST_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashVar); path != "" {
		if err := write(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// write commits task after task and prints the number of each once Commit has returned. It ends only by being killed.
func write(path string) error {
	s, err := store.Open(path, store.BoltOptions{})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		var txn store.Txn
		txn.PutTask(&spec.Task{ID: strconv.Itoa(n), Message: strings.Repeat("x", n%5000)})
		txn.SetSequence(uint64(n))
		if n >= 10 {
			txn.DeleteTask(strconv.Itoa(n - 10))
		}
		if err := s.Commit(context.Background(), txn); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}

func TestKilledBetweenCommits(t *testing.T) {
	for round := range 8 {
		path := filepath.Join(t.TempDir(), "berth.db")
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), crashVar+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The kill comes while the child is anywhere in its next commit.
		in := bufio.NewScanner(out)
		last := -1
		for in.Scan() {
			if last, err = strconv.Atoi(in.Text()); err != nil {
				t.Fatal(err)
			}
			if last == 20+7*round {
				time.AfterFunc(time.Duration(round)*300*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the writer ended with %v", err)
		}
		checkAfterCrash(t, path, last)
	}
}

func checkAfterCrash(t *testing.T, path string, last int) {
	t.Helper()
	s, err := store.Open(path, store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	state := load(t, s)
	// One more commit may be there, whole, than was reported.
	if newest := int(state.Sequence); newest < last || newest > last+1 {
		t.Fatalf("commit %d was the last to return, %d is stored", last, newest)
	}
	for n := max(0, last-8); n <= last; n++ {
		if task := state.Tasks[strconv.Itoa(n)]; task == nil || len(task.Message) != n%5000 {
			t.Fatalf("task %d of %d is missing or damaged", n, last)
		}
	}
}

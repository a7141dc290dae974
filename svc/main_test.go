package svc

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMain lets the test's own program be berth-svc, and the daemons that the tests run.
func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); {
	case name == "run" || name == "finish" || name == "berth-svc":
		os.Exit(Main(os.Args, os.Stdout, os.Stderr))
	case len(os.Args) > 1 && os.Args[1] == "daemon":
		daemon(os.Args[2:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

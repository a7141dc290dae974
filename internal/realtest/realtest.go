// Package realtest is what integration tests beside the packages share: it finds the real things that they want, and makes images of one Go
// program for them. A test comes in, which is skipped or failed where something is not to be had. It starts nothing that goes on running.
package realtest

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/docker"
)

// Missing ends the test, as something real is not to be had: it is skipped, or with BERTH_REQUIRE_REAL=1 a failure.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("BERTH_REQUIRE_REAL") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf("SKIPPED: "+format, args...)
}

// Docker connects to the machine's own engine, which must have these images.
func Docker(t testing.TB, images ...string) *docker.Client {
	t.Helper()
	c, err := docker.New("")
	if err != nil {
		Missing(t, "no Docker Engine: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Ping(t.Context()); err != nil {
		Missing(t, "no Docker Engine: %v", err)
	}
	for _, image := range images {
		if there, err := c.ImageExists(t.Context(), image); err != nil || !there {
			Missing(t, "the Docker Engine has no %s (make images): %v", image, err)
		}
	}
	return c
}

// Run runs a program to its end and returns all that it has written.
func Run(t testing.TB, stdin io.Reader, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = stdin
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // what is built is to run without a C library
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Image makes an image of nothing but one program, of which this is the Go source; it is the entry point. It goes away with the test.
func Image(t testing.TB, image, source string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	Run(t, nil, "go", "build", "-o", filepath.Join(dir, "guest"), file)
	layer := Run(t, nil, "tar", "-C", dir, "-c", "guest")
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", image).Run() }) //nolint:noctx // the test's is over by then
	Run(t, strings.NewReader(layer), "docker", "import", "-c", `ENTRYPOINT ["/guest"]`, "-", image)
}

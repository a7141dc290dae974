// Package assets has what people import beside the figures: Grafana dashboards, and Prometheus's alert rules.
package assets

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/berth-project/berth/internal/wholefile"
)

//go:embed *.json *.yaml
var files embed.FS

// Files has all of them.
func Files() fs.FS { return files }

// Write puts all of them into a folder, which it makes, and returns their paths.
func Write(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder: %w", err)
	}
	names, err := fs.Glob(files, "*")
	if err != nil {
		return nil, fmt.Errorf("list what there is: %w", err)
	}
	var written []string
	for _, name := range names {
		b, err := files.ReadFile(name)
		if err != nil {
			return written, fmt.Errorf("read %s: %w", name, err)
		}
		path := filepath.Join(dir, name)
		if err := wholefile.Replace(path, b); err != nil {
			return written, fmt.Errorf("write %s: %w", path, err)
		}
		written = append(written, path)
	}
	return written, nil
}

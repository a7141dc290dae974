package recipe_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-project/berth/images/recipe"
)

// TestExamples: what the repository shows can be built.
func TestExamples(t *testing.T) {
	files, _ := filepath.Glob("../../examples/build/*/berth.yaml")
	if len(files) < 5 {
		t.Fatalf("only %d examples", len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := recipe.Decode(text)
		if err == nil {
			_, err = r.Plan(os.DirFS(filepath.Dir(file)), nil)
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

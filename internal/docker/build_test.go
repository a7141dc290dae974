package docker

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestReadBuild(t *testing.T) {
	const start = `{"stream":"Step 1/2 : FROM a"}{"stream":"\n"}{"stream":" ---\u003e 123\n"}{"stream":"Step 2/2 : RUN b"}{"stream":"\n"}`
	for name, c := range map[string]struct {
		body, id, err string
		said          []string
	}{
		"built": {
			start + `{"stream":" ---\u003e Running in 456\n"}{"stream":"hello\n"}{"stream":"Removing intermediate container 456\n"}{"stream":" ---\u003e 789\n"}{"aux":{"ID":"sha256:789"}}{"stream":"Successfully built 789\n"}`,
			"sha256:789", "", []string{"step 1", "step 2", "says ", "says hello\n"},
		},
		"reused": {start + `{"stream":" ---\u003e Using cache\n"}{"aux":{"ID":"sha256:789"}}`, "sha256:789", "", []string{"step 1", "step 2", "reused"}},
		"failed": {
			start + `{"errorDetail":{"code":1,"message":"no"},"error":"The command '/bin/sh -ec a\nb' returned a non-zero code: 7"}`, "",
			"a command ended with exit code 7", []string{"step 1", "step 2"},
		},
		"cut off": {start, "", io.ErrUnexpectedEOF.Error(), []string{"step 1", "step 2"}},
		"odd":     {`<html>`, "", "read the progress", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var said []string
			id, err := readBuild(strings.NewReader(c.body), BuildEvents{
				Step: func(n int) { said = append(said, "step "+string(rune('0'+n))) }, Reused: func() { said = append(said, "reused") },
				Output: func(text string) { said = append(said, "says "+text) },
			})
			if id != c.id || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %q, %v", id, err)
			}
			if !slices.Equal(said, c.said) {
				t.Errorf("got %q", said)
			}
			if c.err == io.ErrUnexpectedEOF.Error() && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got %v", err)
			}
		})
	}
}

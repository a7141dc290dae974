package scheduler

import (
	"bytes"
	"encoding/pem"
	"testing"
)

func TestPEMText(t *testing.T) {
	for n := range 200 {
		data := bytes.Repeat([]byte{byte(n)}, n+1)
		if got, want := pemText("A KEY", data), string(pem.EncodeToMemory(&pem.Block{Type: "A KEY", Bytes: data})); got != want {
			t.Fatalf("%d bytes: %q, want %q", n+1, got, want)
		}
	}
}

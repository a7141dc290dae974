package main

import (
	"net/http"
	"slices"
	"testing"
)

func TestWarnings(t *testing.T) {
	h := http.Header{"Warning": {`199 berth "no host \"h1\" can"`, `199 berth "two \\ three"`, "nonsense", `110 proxy "Response is Stale"`}}
	want := []string{`no host "h1" can`, `two \ three`, "Response is Stale"}
	if got := warnings(h); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

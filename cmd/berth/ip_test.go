package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/berth-project/berth/scheduler/api"
)

// TestSeatOfALargeApp: the address of a seat is found behind the first page of its app's.
func TestSeatOfALargeApp(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, next := 0, "10.0.0.1"
		if r.URL.Query().Get("after") == next {
			n, next = 1, ""
		}
		if r.URL.Query().Get("app") != "/web" {
			t.Error(r.URL)
		}
		_ = json.NewEncoder(w).Encode(api.AddressList{Addresses: []api.Address{{Address: fmt.Sprintf("10.0.0.%d", n+1), App: "/web", Seat: &n}}, Next: next})
	}))
	defer server.Close()
	a, err := newAPIClient(t.Context(), server.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	for seat, want := range map[string]string{"/web.0": "10.0.0.1", "/web.1": "10.0.0.2"} {
		if rows, err := storyOf(a, seat); err != nil || len(rows) != 1 || rows[0].Address != want {
			t.Errorf("%s: %v, %v", seat, rows, err)
		}
	}
}

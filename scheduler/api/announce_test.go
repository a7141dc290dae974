package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
)

// Whatever a warning says, it is one header value in ASCII that proxies pass on.
func TestWarnings(t *testing.T) {
	world := apitest.New(api.NewLog(0))
	s, err := api.New(options(world))
	if err != nil {
		t.Fatal(err)
	}
	world.Warnings = []string{"plain", `a "b" \c`, "two\r\nlines: ä", strings.Repeat("x", 5000)}
	w := httptest.NewRecorder()
	s.Handler("").ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v2/apps/web", strings.NewReader(`{"cmd":"sleep 1"}`)))
	got := w.Header().Values("Warning")
	for i, want := range []string{`199 berth "plain"`, `199 berth "a \"b\" \\c"`, `199 berth "two  lines: ?"`} {
		if w.Code != 201 || len(got) != 4 || got[i] != want {
			t.Fatalf("%d, warnings %q, want %s", w.Code, got, want)
		}
	}
	if n := len(got[3]); n > 1100 {
		t.Errorf("a warning of %d bytes", n)
	}
}

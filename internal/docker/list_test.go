package docker_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/docker"
)

// One container that Docker cannot describe leaves the others listed, and the error names it.
func TestListTellsOfWhatItCannotDescribe(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := func(code int, text string) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(text))
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
			w.Header().Set("Api-Version", "1.41")
		case strings.HasSuffix(r.URL.Path, "/containers/json"):
			answer(http.StatusOK, `[{"Id":"a1","Names":["/a"],"State":"running"},{"Id":"b2","Names":["/b"],"State":"dead"},{"Id":"c3","Names":["/c"],"State":"exited"}]`)
		case strings.HasSuffix(r.URL.Path, "/a1/json"):
			answer(http.StatusOK, `{"Id":"a1","Name":"/a","State":{"Status":"running","Running":true}}`)
		case strings.HasSuffix(r.URL.Path, "/b2/json"):
			answer(http.StatusInternalServerError, `{"message":"RWLayer of container b2 is unexpectedly nil"}`)
		default:
			answer(http.StatusNotFound, `{"message":"No such container: c3"}`)
		}
	}))
	defer s.Close()
	c, err := docker.New(strings.Replace(s.URL, "http", "tcp", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := c.List(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "b2") || strings.Contains(err.Error(), "c3") || docker.IsGone(err) {
		t.Errorf("error %v", err)
	}
	if len(got) != 1 || got[0].ID != "a1" {
		t.Errorf("got %v", got)
	}
	s.Close()
	if _, err := c.Inspect(t.Context(), "a1"); !docker.IsGone(err) {
		t.Errorf("without an engine: %v", err)
	}
}

package mesostest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-project/berth/scheduler/mesos/mesostest"
)

// post sends JSON as a client without any help would.
func post(t *testing.T, m *mesostest.Master, stream, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://m"+mesostest.Path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	if stream != "" {
		r.Header.Set("Mesos-Stream-Id", stream)
	}
	resp, err := m.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestAnswersAreThoseOfARealMaster(t *testing.T) {
	m := mesostest.New(mesostest.Options{})
	defer m.Close()
	sub := post(t, m, "", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}`)
	defer func() { _ = sub.Body.Close() }()
	stream := sub.Header.Get("Mesos-Stream-Id")
	if sub.StatusCode != 200 || stream == "" {
		t.Fatalf("got %d, stream %q", sub.StatusCode, stream)
	}
	for _, c := range []struct {
		name, stream, body string
		want               int
	}{
		{"a call", stream, `{"type":"REVIVE","framework_id":{"value":"framework-2"}}`, 202},
		{"no stream id", "", `{"type":"REVIVE","framework_id":{"value":"framework-2"}}`, 400},
		{"a wrong stream id", "x", `{"type":"REVIVE","framework_id":{"value":"framework-2"}}`, 400},
		{"no user", "", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"name":"n","user":""}}}`, 400},
		{"no JSON", stream, `{`, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := post(t, m, c.stream, c.body)
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.want || (c.want == 202) != (len(text) == 0) {
				t.Errorf("got %d %q, %v; want %d", resp.StatusCode, text, err, c.want)
			}
		})
	}
}

func TestWaitCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mesostest.New(mesostest.Options{})
		defer m.Close()
		m.Refuse("REVIVE", 403, "no")
		go func() {
			time.Sleep(time.Minute)
			_ = post(t, m, "", `{"type":"SUPPRESS"}`).Body.Close()
			_ = post(t, m, "", `{"type":"REVIVE"}`).Body.Close()
		}()
		call, n, err := m.WaitCall(t.Context(), 0, mesostest.OfType("REVIVE"))
		if err != nil || call.Status != 403 || n != 2 || len(m.Calls()) != 2 {
			t.Errorf("got %+v at %d, %v", call, n, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, _, err := m.WaitCall(ctx, n, mesostest.OfType("REVIVE")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestASubscriberThatLeavesIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mesostest.New(mesostest.Options{})
		defer m.Close()
		sub := post(t, m, "", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}`)
		synctest.Wait()
		if !m.Subscribed() {
			t.Fatal("not subscribed")
		}
		_ = sub.Body.Close()
		synctest.Wait()
		if m.Subscribed() {
			t.Error("still subscribed")
		}
	})
}

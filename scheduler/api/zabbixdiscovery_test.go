package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/scheduler/api"
	"github.com/berth-project/berth/scheduler/api/apitest"
)

const discovery = "/berth/v1/zabbix/discovery"

// TestZabbixPages: whatever the number of pages, each app is in one of them, whole, and what is too large is refused with the way out.
func TestZabbixPages(t *testing.T) {
	f := newFixture(t)
	var all []string
	for n := range 40 {
		id := fmt.Sprintf("/g%d/web-%d", n%4, n)
		if answer, body := f.ask(t, "PUT", "/v2/apps"+id, `{"cmd":"sleep 1","instances":3}`); answer.StatusCode >= 300 {
			t.Fatalf("%s: %d %s", id, answer.StatusCode, body)
		}
		all = append(all, id)
	}
	f.world.Settle()
	slices.Sort(all)
	// seats are the apps of an answer, each as often as it has instances.
	seats := func(query string) []string {
		t.Helper()
		answer, body := f.ask(t, "GET", discovery+query, "")
		var rows []map[string]string
		if err := json.Unmarshal(body, &rows); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %.200s: %v", query, answer.StatusCode, body, err)
		}
		var out []string
		for _, row := range rows {
			out = append(out, row["{#APP}"])
		}
		return out
	}
	for _, pages := range []int{1, 2, 7, 100} {
		var got []string
		for page := 1; page <= pages; page++ {
			rows := seats(fmt.Sprintf("?pages=%d&page=%d", pages, page))
			for apps := slices.Compact(slices.Clone(rows)); len(apps) > 0; apps = apps[1:] {
				if n := len(slices.DeleteFunc(slices.Clone(rows), func(a string) bool { return a != apps[0] })); n != 3 {
					t.Errorf("%d of %d: %d seats of %s", page, pages, n, apps[0])
				}
				got = append(got, apps[0])
			}
		}
		if slices.Sort(got); !slices.Equal(got, all) {
			t.Errorf("%d pages have %v", pages, got)
		}
	}
	if got := seats("?group=/g1"); len(got) != 30 || slices.ContainsFunc(got, func(a string) bool { return !strings.HasPrefix(a, "/g1/") }) {
		t.Errorf("a group has %v", got)
	}
	for query, want := range map[string]string{
		"?pages=0": "no number from 1 to 1000", "?page=2": "no page 2 of 1", "?page=x": "no number", "?max=-1": "no number",
		"?max=100": "ask for it in more pages (pages=",
	} {
		code := http.StatusBadRequest
		if strings.HasPrefix(query, "?max=1") {
			code = http.StatusRequestEntityTooLarge
		}
		if answer, body := f.ask(t, "GET", discovery+query, ""); answer.StatusCode != code || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d %s", query, answer.StatusCode, body)
		}
	}
}

// TestDiscoveryToken opens what monitoring discovers by, and nothing else.
func TestDiscoveryToken(t *testing.T) {
	s, err := api.New(options(apitest.New(api.NewLog(0))))
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, []api.Listener{{Listener: l, Token: "root", DiscoveryToken: "zabbix"}}) }()
	t.Cleanup(func() {
		if stop(); <-served != nil {
			t.Error("serve failed")
		}
	})
	for _, c := range []struct {
		method, path, token string
		want                int
	}{
		{"GET", discovery, "root", 200}, {"GET", discovery, "zabbix", 200}, {"HEAD", discovery, "zabbix", 200}, {"GET", discovery, "", 401}, {"GET", discovery, "zabbi", 401},
		{"POST", discovery, "zabbix", 401}, {"GET", "/berth/v1/instances", "zabbix", 401}, {"GET", "/v2/apps", "zabbix", 401}, {"GET", "/berth/v1/zabbix", "zabbix", 401},
		{"GET", "/berth/v1/prometheus/targets", "zabbix", 200}, {"PUT", "/berth/v1/prometheus/targets", "zabbix", 401}, {"GET", "/berth/v1/prometheus", "zabbix", 401},
		{"GET", discovery + "/../../instances", "zabbix", 401}, {"GET", "/v2/apps", "root", 200},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+l.Addr().String()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+c.token)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != c.want {
			t.Errorf("%s %s with %q: %d, want %d", c.method, c.path, c.token, answer.StatusCode, c.want)
		}
	}
}

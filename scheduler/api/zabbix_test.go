package api

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

// TestZabbixSeats: every wanted seat is one host of Zabbix, wherever it runs and while it does not; helpers and leftovers are none.
func TestZabbixSeats(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	deep := "/" + strings.Repeat("a", 63) + "/" + strings.Repeat("b", 63) + "/" + strings.Repeat("c", 63)
	web := &spec.App{ID: "/prod/db/web", Instances: 2, Holes: []int{1}, LastConfigChange: now}
	floats := &spec.App{ID: "/job", Instances: 1, Labels: map[string]string{spec.AppLabelIdentity: spec.IdentityFloat}}
	far := &spec.App{ID: spec.AppID(deep + "/far"), Instances: 1}
	task := func(app spec.AppID, seat int, rung spec.Rung, host, address string) *spec.Task {
		a, _ := netip.ParseAddr(address)
		return &spec.Task{ID: host + app.Base(), Seat: spec.SeatID{App: app, Index: seat}, Rung: rung, Host: host, Address: a}
	}
	snap := &Snapshot{
		View: View{
			Now: now, Connected: true, Apps: map[spec.AppID]*spec.App{web.ID: web, floats.ID: floats, far.ID: far},
			Tasks: map[spec.AppID][]*spec.Task{
				web.ID: {
					task(web.ID, 0, spec.Killing, "h1", "10.0.0.1"), task(web.ID, 0, spec.Staged, "h2", "10.0.0.1"),
					task(web.ID, 3, spec.Running, "h3", "10.0.0.9"),
				},
				floats.ID: {task(floats.ID, 4, spec.Running, "h1", "")},
				"/gone":   {task("/gone", 0, spec.Running, "h1", "10.0.0.7")},
			},
		},
		Seats:  map[spec.SeatID]spec.Seat{{App: web.ID}: {Hostname: "web-0.named"}},
		Leases: []spec.Lease{{Seat: spec.SeatID{App: web.ID, Index: 2}, Pool: "p", Address: netip.MustParseAddr("fd00::2")}},
	}
	far0 := spec.SeatID{App: far.ID}
	want := []zabbixSeat{
		{App: string(far.ID), Seat: "0", Host: far0.ZabbixHost(""), Name: far0.ZabbixHost(""), IP: "0.0.0.0", Hostname: far0.Hostname(), Group: deep},
		{App: "/job", Seat: "4", Host: "berth.job.4", Name: "/job.4", IP: "0.0.0.0", Hostname: "job-4", RunsOn: "h1"},
		{App: "/prod/db/web", Seat: "0", Host: "berth.prod_db_web.0", Name: "/prod/db/web.0", IP: "10.0.0.1", Hostname: "web-0.named", Group: "/prod/db", RunsOn: "h2"},
		{App: "/prod/db/web", Seat: "2", Host: "berth.prod_db_web.2", Name: "/prod/db/web.2", IP: "fd00::2", Hostname: "web-2.db.prod", Group: "/prod/db"},
	}
	if diff := cmp.Diff(want, zabbixSeats(snap, "")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := zabbixSeats(snap, "paris")[1]; got.Host != "paris.job.4" || got.Name != "paris: /job.4" {
		t.Errorf("in another cluster: %+v", got)
	}
}

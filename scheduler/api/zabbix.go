package api

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/berth-project/berth/spec"
)

// Zabbix's limits. A discovery that comes through a proxy has less room: 64 KiB in its database (discovery notes of Zabbix's
// manual); there pages are needed sooner.
const (
	maxDiscovery     = 512 << 10 // bytes, unless the query says max=
	maxPages         = 1000
	maxVisibleName   = 128 // hosts.name
	maxZabbixGroup   = 200 // of hstgrp.name's 255, so that a template's own beginning has room
	unknownInterface = "0.0.0.0"
)

// zabbixSeat is one row of the low-level discovery: an instance that is to be a Zabbix host.
type zabbixSeat struct {
	App      string `json:"{#APP}"`
	Seat     string `json:"{#SEAT}"`
	Host     string `json:"{#HOST}"` // its technical name, the same for ever
	Name     string `json:"{#NAME}"` // its visible name
	IP       string `json:"{#IP}"`
	Hostname string `json:"{#HOSTNAME}"`
	// Group is the app's, "/prod/db", to be appended to a group's name; "" for apps of the root.
	Group  string `json:"{#GROUP}"`
	RunsOn string `json:"{#RUNS_ON}"` // the host; "" while it waits
}

// getZabbixDiscovery is GET /berth/v1/zabbix/discovery: all wanted seats, also those that do not run, so that Zabbix keeps their
// history; seats that exist for the time of a rolling update only, or are on their way out, are not there. With pages=N&page=K it
// is the K-th part: an app is always in the same one, whole. With group=ID it is the apps below a group. An answer of more than
// max=BYTES is refused rather than cut.
func (s *Server) getZabbixDiscovery(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	number := map[string]int{"pages": 1, "page": 1, "max": maxDiscovery}
	for name, most := range map[string]int{"pages": maxPages, "page": maxPages, "max": 1 << 30} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return fail(http.StatusBadRequest, "%s=%q is no number from 1 to %d", name, text, most)
		}
		number[name] = n
	}
	if number["page"] > number["pages"] {
		return fail(http.StatusBadRequest, "There is no page %d of %d.", number["page"], number["pages"])
	}
	snap, err := s.o.Backend.Snapshot(r.Context())
	if err != nil {
		return err
	}
	group := appID(segments(q.Get("group")))
	rows := []zabbixSeat{}
	for _, row := range zabbixSeats(snap, s.o.Info.Cluster) {
		app := spec.AppID(row.App)
		if app.In(group) && pageOf(app, number["pages"]) == number["page"] {
			rows = append(rows, row)
		}
	}
	body, err := encode(rows)
	if err != nil {
		return err
	}
	if most := number["max"]; len(body) > most {
		message := fmt.Sprintf("The discovery of %d instances is %d bytes, more than %d: ask for it in more pages (pages=%d, a Zabbix host each).",
			len(rows), len(body), most, number["pages"]*(len(body)/most+2))
		s.log.WithField("page", number["page"]).WithField("pages", number["pages"]).Warn(message)
		return fail(http.StatusRequestEntityTooLarge, "%s", message)
	}
	return respondBytes(w, r, http.StatusOK, "application/json", body)
}

// pageOf is the page of an app, from 1. It depends on nothing but the app: a host of Zabbix belongs to the rule that found it.
func pageOf(app spec.AppID, pages int) int {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(app)) // never fails
	return int(sum.Sum32()%uint32(pages)) + 1
}

// zabbixSeats are the rows of all apps and pods, by seat.
func zabbixSeats(snap *Snapshot, cluster string) []zabbixSeat {
	var out []zabbixSeat
	var last Instance
	for _, i := range instances(snap) {
		if i.Temporary || i.Surplus {
			continue
		}
		row := zabbixRow(i, cluster)
		switch n := len(out); {
		case n == 0 || last.App != i.App || last.Seat != i.Seat:
			out = append(out, row)
		case i.State == "stopping": // its successor is there already
			continue
		default:
			out[n-1] = row
		}
		last = i
	}
	return out
}

func zabbixRow(i Instance, cluster string) zabbixSeat {
	seat := spec.SeatID{App: i.App, Index: i.Seat}
	row := zabbixSeat{
		App: string(i.App), Seat: strconv.Itoa(i.Seat), Host: seat.ZabbixHost(cluster), Name: seat.String(), IP: i.Address,
		Hostname: i.Hostname, Group: strings.TrimSuffix(string(i.App.Parent()), "/"), RunsOn: i.Host,
	}
	if cluster != spec.DefaultCluster && cluster != "" {
		row.Name = cluster + ": " + row.Name // visible names are unique, too
	}
	if utf8.RuneCountInString(row.Name) > maxVisibleName {
		row.Name = row.Host
	}
	for len(row.Group) > maxZabbixGroup {
		row.Group = strings.TrimSuffix(string(spec.AppID(row.Group).Parent()), "/")
	}
	if row.IP == "" { // none yet, or none of its own; without one Zabbix would not make the host
		row.IP = unknownInterface
	}
	return row
}

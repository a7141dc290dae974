package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// AppID is an absolute app or group path, such as "/prod/web".
type AppID string

// Safe is the id without the leading slash and with "_" for "/": Marathon's form in task ids.
func (id AppID) Safe() string {
	return strings.ReplaceAll(strings.TrimPrefix(string(id), "/"), "/", "_")
}

// Base is the last segment.
func (id AppID) Base() string { return string(id[strings.LastIndexByte(string(id), '/')+1:]) }

// Parent is the enclosing group; "/" for a top-level id.
func (id AppID) Parent() AppID {
	i := strings.LastIndexByte(string(id), '/')
	if i <= 0 {
		return "/"
	}
	return id[:i]
}

// Segments are the path's parts, outermost first.
func (id AppID) Segments() []string {
	t := strings.Trim(string(id), "/")
	if t == "" {
		return nil
	}
	return strings.Split(t, "/")
}

// In says whether id is group itself or lies below it.
func (id AppID) In(group AppID) bool {
	return group == "/" || id == group || strings.HasPrefix(string(id), string(group)+"/")
}

// SeatID names one seat of an app. Its text form is "APP.N" ("/prod/web.0").
type SeatID struct {
	App   AppID
	Index int
}

func (s SeatID) String() string { return string(s.App) + "." + strconv.Itoa(s.Index) }

// Safe is the seat's name in file names and container labels: "prod_web.0". Unique, as ids cannot contain "_".
func (s SeatID) Safe() string { return s.App.Safe() + "." + strconv.Itoa(s.Index) }

// Less orders seats by app, then by number.
func (s SeatID) Less(o SeatID) bool {
	if s.App != o.App {
		return s.App < o.App
	}
	return s.Index < o.Index
}

// ParseSeatID reads "APP.N"; the leading slash may be missing.
func ParseSeatID(text string) (SeatID, error) {
	i := strings.LastIndexByte(text, '.')
	if i < 0 {
		return SeatID{}, fmt.Errorf("%q is not APP.N", text)
	}
	n, err := strconv.Atoi(text[i+1:])
	if err != nil || n < 0 {
		return SeatID{}, fmt.Errorf("%q is not APP.N: %q is no seat number", text, text[i+1:])
	}
	app := text[:i]
	if !strings.HasPrefix(app, "/") {
		app = "/" + app
	}
	return SeatID{App: AppID(app), Index: n}, nil
}

// Hostname is the host name wanted for a seat: base-N, then the groups from the inside out ("web-0.prod"), so that equal
// base names in different groups differ. Names over 63 bytes are cut and given a digest. The scheduler makes the result
// unique among all seats by adding HostnameSuffix where ids with dots would still collide.
func (s SeatID) Hostname() string {
	seg := s.App.Segments()
	if len(seg) == 0 {
		return ""
	}
	name := seg[len(seg)-1] + "-" + strconv.Itoa(s.Index)
	for i := len(seg) - 2; i >= 0; i-- {
		name += "." + seg[i]
	}
	if len(name) > 63 {
		tail := "-" + HostnameSuffix(s.App) + "-" + strconv.Itoa(s.Index)
		name = strings.TrimRight(seg[len(seg)-1][:min(len(seg[len(seg)-1]), 63-len(tail))], "-.") + tail
	}
	return name
}

// HostnameSuffix is a short digest of the app's id.
func HostnameSuffix(app AppID) string {
	sum := sha256.Sum256([]byte(app))
	return hex.EncodeToString(sum[:4])
}

// InstanceID is Marathon's instance id for a uuid: "<safe>.instance-<uuid>".
func InstanceID(app AppID, uuid string) string { return app.Safe() + ".instance-" + uuid }

// TaskID is Marathon's (1.8+) task id for an instance's incarnation n, from 1: "<instance>._app.<n>".
func TaskID(instance string, n int) string { return instance + "._app." + strconv.Itoa(n) }

// FormatTime is Marathon's timestamp: UTC with three fraction digits.
func FormatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

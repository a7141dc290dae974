package spec

import "testing"

func TestHostnameDiffersAcrossGroups(t *testing.T) {
	for _, c := range []struct {
		seat SeatID
		want string
	}{
		{SeatID{"/web", 0}, "web-0"},
		{SeatID{"/prod/web", 1}, "web-1.prod"},
		{SeatID{"/test/web", 1}, "web-1.test"},
		{SeatID{"/eu/prod/web", 12}, "web-12.prod.eu"},
	} {
		if got := c.seat.Hostname(); got != c.want {
			t.Errorf("%v: got %q, want %q", c.seat, got, c.want)
		}
	}
	long := SeatID{"/a/very/long/path/of/groups/that/no/host/name/could/ever/hold/in/63/bytes/service-name", 3}
	if got := long.Hostname(); len(got) > 63 || got == "" {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

func TestParseSeatID(t *testing.T) {
	for text, want := range map[string]SeatID{"/prod/web.3": {"/prod/web", 3}, "web.0": {"/web", 0}, "a.b.1": {"/a.b", 1}} {
		if got, err := ParseSeatID(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"web", "web.x", "web.-1"} {
		if got, err := ParseSeatID(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

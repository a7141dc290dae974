package services

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCheckFrom(t *testing.T) {
	const at = "10.0.0.1:80"
	cases := []struct {
		settings []string
		want     *Check
		refused  string // a part of it
	}{
		{nil, nil, ""},
		{[]string{"check_http=/up"}, &Check{HTTP: "http://" + at + "/up", Interval: 10 * time.Second}, ""},
		{[]string{"check_http=up", "check_http_method=HEAD", "check_interval=15s", "check_timeout=1s"}, &Check{HTTP: "http://" + at + "/up", Method: "HEAD", Interval: 15 * time.Second, Timeout: time.Second}, ""},
		{[]string{"check_https=/", "check_https_method=HEAD", "check_http_method=GET"}, &Check{HTTP: "https://" + at + "/", Method: "HEAD", Interval: 10 * time.Second}, ""},
		{[]string{"check_https=/", "check_tls_skip_verify=false"}, &Check{HTTP: "https://" + at + "/", Interval: 10 * time.Second, Verify: true}, ""},
		{[]string{"check_tcp=true", "check_interval=10ms"}, &Check{TCP: at, Interval: time.Second}, ""},
		{[]string{"check_ttl=30s", "check_interval=5s"}, &Check{TTL: 30 * time.Second}, ""},
		{[]string{"check_ttl=soon"}, nil, "SERVICE_CHECK_TTL=soon"},
		{[]string{"check_grpc=true", "check_grpc_use_tls=true"}, &Check{GRPC: at, GRPCUseTLS: true, Verify: true, Interval: 10 * time.Second}, ""},
		{[]string{"check_grpc=true", "check_grpc_use_tls=true", "check_tls_skip_verify=true"}, &Check{GRPC: at, GRPCUseTLS: true, Interval: 10 * time.Second}, ""},
		{[]string{"check_tcp=1", "check_initial_status=passing", "check_deregister_after=10m"}, &Check{TCP: at, Interval: 10 * time.Second, Status: "passing", DeregisterAfter: 10 * time.Minute}, ""},
		{[]string{"check_tcp=1", "check_initial_status=good", "check_timeout=x"}, &Check{TCP: at, Interval: 10 * time.Second}, "SERVICE_CHECK_TIMEOUT=x is no time of at least 1ms; SERVICE_CHECK_INITIAL_STATUS=good"},
		{[]string{"check_script=true"}, nil, "scripts are no checks"},
		{[]string{"check_cmd=true"}, nil, "scripts are no checks"},
		{[]string{"check_interval=5s"}, nil, "nothing to check"},
	}
	for _, c := range cases {
		got, refused := checkFrom(pairs(c.settings...), netip.MustParseAddr("10.0.0.1"), 80)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%v (-want +got):\n%s", c.settings, d)
		}
		if !strings.Contains(refused, c.refused) || c.refused == "" && refused != "" {
			t.Errorf("%v: %q", c.settings, refused)
		}
	}
}

func TestMaintenanceAndWeight(t *testing.T) {
	ours := MaintenanceNote("release 7")
	for _, c := range []struct{ want, have, differs, kept string }{
		{"", "", "", ""}, {ours, "", "maintenance", ours}, {ours, ours, "", ours}, {"", ours, "maintenance", ""},
		{"", "by hand", "", "by hand"}, {ours, "by hand", "maintenance", ours}, {ours, MaintenanceNote("release 6"), "maintenance", ours},
	} {
		s := Service{Maintenance: c.want}
		if got := s.Differs(Registered{Maintenance: c.have}); got != c.differs {
			t.Errorf("%q wanted, %q there: differs in %q, want %q", c.want, c.have, got, c.differs)
		}
		if got := s.Kept(c.have); got != c.kept {
			t.Errorf("%q wanted, %q there: %q is kept", c.want, c.have, got)
		}
	}
	if (Service{}).Differs(Registered{Weight: 1}) != "" || (Service{Weight: 5}).Differs(Registered{Weight: 1}) != "weight" || (Service{}).Differs(Registered{Weight: 5}) != "weight" {
		t.Error("weights")
	}
}

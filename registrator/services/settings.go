package services

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// conventionInterval is Registrator's default.
const conventionInterval = 10 * time.Second

// checkFrom makes a check of Registrator's words (spec.ServiceSettings.CheckSettings). refused says why there is none although
// one is asked for, or which part of it does not count.
func checkFrom(settings map[string]string, address netip.Addr, port int) (check *Check, refused string) {
	if len(settings) == 0 {
		return nil, ""
	}
	c := &Check{}
	target := netip.AddrPortFrom(address, uint16(port)).String()
	url := func(scheme, p string) string { return scheme + "://" + target + "/" + strings.TrimPrefix(p, "/") }
	switch {
	case settings["check_http"] != "":
		c.HTTP, c.Method = url("http", settings["check_http"]), settings["check_http_method"]
	case settings["check_https"] != "":
		c.HTTP, c.Method = url("https", settings["check_https"]), settings["check_https_method"]
	case settings["check_cmd"] != "", settings["check_script"] != "", settings["check_docker"] != "":
		return nil, "scripts are no checks: Consul agents run none since version 1.1 unless they are told to; take SERVICE_CHECK_HTTP, _TCP, _GRPC or _TTL"
	case settings["check_ttl"] != "":
		ttl, err := time.ParseDuration(settings["check_ttl"])
		if err != nil || ttl <= 0 {
			return nil, fmt.Sprintf("SERVICE_CHECK_TTL=%s is no time such as 30s", settings["check_ttl"])
		}
		c.TTL = ttl
	case settings["check_tcp"] != "":
		c.TCP = target
	case settings["check_grpc"] != "":
		c.GRPC, c.GRPCUseTLS = target, said(settings["check_grpc_use_tls"])
	default:
		return nil, "the settings of its check say nothing to check: SERVICE_CHECK_HTTP, _HTTPS, _TCP, _GRPC or _TTL is missing"
	}
	return c, c.refine(settings)
}

// refine adds what all kinds of checks have, and says what of it cannot be.
func (c *Check) refine(settings map[string]string) (refused string) {
	var faults []string
	read := func(key string, least time.Duration) time.Duration {
		text := settings[key]
		d, err := time.ParseDuration(text)
		if text != "" && (err != nil || d < least) {
			faults = append(faults, fmt.Sprintf("SERVICE_%s=%s is no time of at least %v", strings.ToUpper(key), text, least))
			d = 0
		}
		return d
	}
	if interval := read("check_interval", time.Millisecond); c.TTL == 0 {
		c.Interval = max(cmp.Or(interval, conventionInterval), minInterval)
		c.Timeout = read("check_timeout", time.Millisecond)
	}
	c.DeregisterAfter = read("check_deregister_after", time.Millisecond)
	switch c.Status = settings["check_initial_status"]; {
	case c.Status == "", slices.Contains([]string{"passing", "warning", "critical"}, c.Status):
	default:
		faults = append(faults, fmt.Sprintf("SERVICE_CHECK_INITIAL_STATUS=%s is neither passing, warning nor critical", c.Status))
		c.Status = ""
	}
	switch {
	case strings.HasPrefix(c.HTTP, "https:"): // the certificate names a host name; the check goes to an address
		c.Verify = settings["check_tls_skip_verify"] == "false"
	case c.GRPCUseTLS:
		c.Verify = !said(settings["check_tls_skip_verify"])
	}
	return strings.Join(faults, "; ")
}

// said: Registrator takes any value as yes; "false" and "0" are certainly none.
func said(value string) bool { return value != "" && value != "false" && value != "0" }

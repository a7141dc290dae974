package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// AuthUser is the user name of basic authentication; the password is the token.
const AuthUser = "berth"

// authorized says whether the request shows the token: "Bearer T", "token=T" (DC/OS clients) or basic auth. Digests are
// compared, so that neither content nor length can be found by timing.
func authorized(r *http.Request, token string) bool {
	header := r.Header.Get("Authorization")
	var got string
	if user, password, ok := r.BasicAuth(); ok {
		if subtle.ConstantTimeCompare([]byte(user), []byte(AuthUser)) != 1 {
			return false
		}
		got = password
	} else if rest, ok := strings.CutPrefix(header, "token="); ok {
		got = rest
	} else if scheme, rest, ok := strings.Cut(header, " "); ok && strings.EqualFold(scheme, "Bearer") {
		got = strings.TrimSpace(rest)
	} else {
		return false
	}
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// mayDiscover says whether the request reads what monitoring has to find, and shows the token for that. Zabbix and Prometheus keep
// their tokens where many may come by them, and the API's own is root on every host.
func mayDiscover(r *http.Request, token string) bool {
	reads, p := r.Method == http.MethodGet || r.Method == http.MethodHead, segments(r.URL.Path)
	discovers := is(p, "berth", "v1", "zabbix", "discovery") || is(p, "berth", "v1", "prometheus", "targets")
	return token != "" && reads && discovers && authorized(r, token)
}

// foreignOrigin says whether a web page of another site sent the request: a browser would add what the user's machine is
// allowed to do (loopback, remembered basic auth).
func foreignOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}

// allowedOrigin says whether the operators allow pages of this origin.
func (s *Server) allowedOrigin(r *http.Request) bool {
	return slices.Contains(s.o.AllowOrigins, "*") || slices.ContainsFunc(s.o.AllowOrigins, func(o string) bool {
		return strings.EqualFold(o, r.Header.Get("Origin"))
	})
}

// cors adds what browsers need to give an answer to a page of an allowed origin, and answers their question beforehand
// itself (done is true): they put it without credentials.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) (done bool) {
	origin := r.Header.Get("Origin")
	if origin == "" || !s.allowedOrigin(r) {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Expose-Headers", "Location, Warning, X-Marathon-Leader, "+deploymentHeader)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Last-Event-ID")
	h.Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusOK)
	return true
}

func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || host == "" {
		return "127.0.0.1" // a unix socket has no address, and its peer is on this machine
	}
	return host
}

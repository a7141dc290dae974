package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
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

func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || host == "" {
		return "127.0.0.1" // a unix socket has no address, and its peer is on this machine
	}
	return host
}
